using System.Threading.Channels;
using System.Threading.Tasks.Dataflow;

namespace Pipeline.Tests.Conformance;

/// <summary>A source of one message that is offered when the test says so, and shows what the target asks for.</summary>
public sealed class ProbeSource<T>(T message) : ISourceBlock<T>
{
    private readonly Channel<(string Request, ITargetBlock<T> Target)> _requests = Channel.CreateUnbounded<(string, ITargetBlock<T>)>();
    private readonly Lock _gate = new();
    private bool _isTaken;
    private ITargetBlock<T>? _reservedBy;

    public Task Completion => Task.CompletedTask;

    /// <summary>Somebody else gets the message.</summary>
    public void Withdraw()
    {
        lock (_gate)
        {
            _isTaken = true;
        }
    }

    public DataflowMessageStatus OfferTo(ITargetBlock<T> target, bool consumeToAccept = false) =>
        target.OfferMessage(new DataflowMessageHeader(1), message, this, consumeToAccept);

    public async Task<(string Request, ITargetBlock<T> Target)> NextRequestAsync() =>
        await _requests.Reader.ReadAsync().AsTask().WaitAsync(TestLimit.Time);

    public T? ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<T> target, out bool messageConsumed)
    {
        lock (_gate)
        {
            messageConsumed = !_isTaken && (_reservedBy is null || ReferenceEquals(_reservedBy, target));
            _isTaken |= messageConsumed;
        }

        _requests.Writer.TryWrite(("consume", target));
        return messageConsumed ? message : default;
    }

    public bool ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<T> target)
    {
        lock (_gate)
        {
            if (_isTaken || _reservedBy is not null)
            {
                return false;
            }

            _reservedBy = target;
        }

        _requests.Writer.TryWrite(("reserve", target));
        return true;
    }

    public void ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<T> target)
    {
        lock (_gate)
        {
            Assert.That(_reservedBy, Is.SameAs(target));
            _reservedBy = null;
        }

        _requests.Writer.TryWrite(("release", target));
    }

    public IDisposable LinkTo(ITargetBlock<T> target, DataflowLinkOptions linkOptions) => throw new NotSupportedException();

    public void Complete() => throw new NotSupportedException();

    public void Fault(Exception exception) => throw new NotSupportedException();
}
