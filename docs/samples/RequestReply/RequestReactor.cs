using System.Collections.Concurrent;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Samples.RequestReply;

/// <summary>
/// Questions and answers, with limits: a peer is asked at most <see cref="MaxInFlight"/> questions at once, an answer may take only so long,
/// and a peer that asks too much at once or answers what was not asked is stopped.
/// </summary>
/// <param name="answer">Answers a question. Called for different peers at once.</param>
/// <param name="timeout">How long an answer may take, the wait for a free place included.</param>
public sealed class RequestReactor(Func<string, string> answer, TimeSpan timeout) : Reactor<Frame>("request", Channel)
{
    /// <summary>How many questions to one peer may be open.</summary>
    public const int MaxInFlight = 8;

    /// <summary>
    /// Each side has at most <see cref="MaxInFlight"/> questions open, so at most twice as many messages of a peer can be under way, and there is
    /// room for all: nobody who answers has to wait, and who sends more does not keep to the protocol and is disconnected.
    /// </summary>
    public static readonly ChannelDescriptor<Frame> Channel = new(0xC2, "requests", Frame.Parser)
    {
        MaxMessageSize = 16 * 1024,
        SendQueueCapacity = 2 * MaxInFlight,
        ReceiveQueueCapacity = 2 * MaxInFlight,
        WhenFull = FullLanePolicy.Disconnect,
    };

    private readonly ConcurrentDictionary<IPeer, OpenQuestions> _open = [];

    /// <summary>Asks a peer, and waits for the answer.</summary>
    /// <exception cref="TimeoutException">There was no answer in time.</exception>
    /// <exception cref="IOException">The peer has left.</exception>
    public async Task<string> AskAsync(IPeer peer, string question, CancellationToken cancellationToken = default)
    {
        OpenQuestions open = _open.GetValueOrDefault(peer) ?? throw Left(peer);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, peer.Stopped);
        end.CancelAfter(timeout);
        try
        {
            (ulong id, Task<string> reply) = await open.AddAsync(end.Token);
            Frame frame = new() { Request = new Request { Id = id, Question = question } };
            SendResult result = await peer.SendAsync(Channel, frame, cancellationToken: end.Token);
            return result == SendResult.Queued ? await reply.WaitAsync(end.Token) : throw Left(peer);
        }
        catch (OperationCanceledException) when (peer.Stopped.IsCancellationRequested)
        {
            throw Left(peer);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"{peer.NodeInfo.Moniker} did not answer within {timeout.TotalSeconds:0.###} s.");
        }
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        _open[peer] = new OpenQuestions(MaxInFlight);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        _open.TryRemove(peer, out _);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask ReceiveAsync(Envelope<Frame> envelope, CancellationToken cancellationToken)
    {
        (IPeer peer, Frame frame) = (envelope.Peer, envelope.Message);
        if (frame.Request is { } request)
        {
            Frame reply = new() { Reply = new Reply { Id = request.Id, Answer = answer(request.Question) } };
            await peer.SendAsync(Channel, reply, cancellationToken: cancellationToken);
        }
        else if (frame.Reply is null || !_open[peer].TryClose(frame.Reply.Id, frame.Reply.Answer))
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Misbehaved, "It answered what it was not asked."));
        }
    }

    private static IOException Left(IPeer peer) => new($"{peer.NodeInfo.Moniker} has left.");
}
