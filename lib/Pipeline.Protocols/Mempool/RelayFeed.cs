using System.Threading.Channels;
using Pipeline.Dataflow;

namespace Pipeline.Protocols.Mempool;

/// <summary>How far one peer is in the log, and what is to be done for it.</summary>
internal sealed class RelayFeed(IPeer peer, bool announces)
{
    private readonly Channel<bool> _wakes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    // Guarded by _gate. _due is how many announced transactions the peer has to answer; _answer is its answer until it is dealt with.
    private readonly Lock _gate = new();
    private int _due;
    private RelayMessage.Types.Answer? _answer;
    private volatile bool _isAnswering;

    public IPeer Peer { get; } = peer;

    /// <summary>Whether the peer is told hashes, and tells them.</summary>
    public bool Announces { get; } = announces;

    /// <summary>Ends when the peer has stopped.</summary>
    public Task Loop { get; set; } = Task.CompletedTask;

    // Of ReceiveAsync, which runs for one message of the peer at a time, from here on.

    /// <summary>Where the transactions are in the message that is being received.</summary>
    public List<(int Start, int Length)> Found { get; } = [];

    /// <summary>Whether the peer has announced something that is not answered.</summary>
    public bool IsAnswering
    {
        get => _isAnswering;
        set => _isAnswering = value;
    }

    /// <summary>Ends when what the peer has announced is answered.</summary>
    public Task Answering { get; set; } = Task.CompletedTask;

    public int Repeats { get; set; }

    public long RepeatsSince { get; set; }

    // Guarded by the log's lock, from here on.

    /// <summary>Its bit in each transaction; that of a peer that has left is used again.</summary>
    public int Slot { get; set; }

    /// <summary>The next transaction of the log that it has to look at.</summary>
    public long Position { get; set; }

    /// <summary>How many transactions of the pool came from it and are not settled.</summary>
    public int Unsettled { get; set; }

    /// <summary>How many transactions it has got, or said that it has, since peers were last judged.</summary>
    public int Taken { get; set; }

    /// <summary>How many it has been asked for.</summary>
    public int Requested { get; set; }

    /// <summary>How many more it has announced and not sent in time than it has sent since.</summary>
    public int Owed { get; set; }

    /// <summary>When it last sent something, or first did not, while it owes anything.</summary>
    public long OwesSince { get; set; }

    /// <summary>The transactions that it asks for.</summary>
    public Queue<TransactionHash> Asked { get; } = [];

    /// <summary>The transactions that it has to be asked for, because another peer did not send them.</summary>
    public Queue<TransactionHash> ToAsk { get; } = [];

    public void Wake() => _wakes.Writer.TryWrite(true);

    public async ValueTask WaitAsync(CancellationToken cancellationToken) => await _wakes.Reader.ReadAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>So many transactions are announced to the peer.</summary>
    public void Expect(int count)
    {
        lock (_gate)
        {
            _due = count;
        }
    }

    /// <summary>The peer answers; false when there is nothing to answer like that.</summary>
    public bool TrySetAnswer(RelayMessage.Types.Answer answer)
    {
        lock (_gate)
        {
            if (answer.Count == 0 || answer.Count > _due || answer.Wanted.Length != (answer.Count + 7) / 8)
            {
                return false;
            }

            _due = 0;
            _answer = answer;
        }

        Wake();
        return true;
    }

    public RelayMessage.Types.Answer? TakeAnswer()
    {
        lock (_gate)
        {
            RelayMessage.Types.Answer? answer = _answer;
            _answer = null;
            return answer;
        }
    }
}
