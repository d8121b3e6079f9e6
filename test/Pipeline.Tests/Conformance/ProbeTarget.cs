using System.Threading.Channels;
using System.Threading.Tasks.Dataflow;

namespace Pipeline.Tests.Conformance;

/// <summary>A target that answers each offer as it is told to, and shows the offers and the end to the test.</summary>
public sealed class ProbeTarget<T>(DataflowMessageStatus answer) : ITargetBlock<T>
{
    private readonly Channel<Offer<T>> _offers = Channel.CreateUnbounded<Offer<T>>();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public DataflowMessageStatus Answer { get; set; } = answer;

    public Task Completion => _completion.Task;

    /// <summary>Runs at the end, before <see cref="Completion"/>.</summary>
    public Action? Ending { get; init; }

    /// <summary>Runs while an offer is being answered.</summary>
    public Action<Offer<T>>? Offering { get; set; }

    public bool WasOffered => _offers.Reader.TryPeek(out _);

    public async Task<Offer<T>> NextOfferAsync() => await _offers.Reader.ReadAsync().AsTask().WaitAsync(TestLimit.Time);

    public DataflowMessageStatus OfferMessage(DataflowMessageHeader messageHeader, T messageValue, ISourceBlock<T>? source, bool consumeToAccept)
    {
        Offer<T> offer = new(messageHeader, messageValue, source!, this);
        Offering?.Invoke(offer);
        DataflowMessageStatus status = Answer;
        if (status == DataflowMessageStatus.Accepted && consumeToAccept && !offer.TryConsume(out _))
        {
            status = DataflowMessageStatus.NotAvailable;
        }

        _offers.Writer.TryWrite(offer);
        return status;
    }

    public void Complete()
    {
        Ending?.Invoke();
        _completion.TrySetResult();
    }

    public void Fault(Exception exception)
    {
        Ending?.Invoke();
        _completion.TrySetException(exception);
    }
}

/// <summary>An offer that a target got, with what the target can do about it.</summary>
public sealed record Offer<T>(DataflowMessageHeader Header, T Value, ISourceBlock<T> Source, ITargetBlock<T> Target)
{
    public bool TryConsume(out T? value)
    {
        value = Source.ConsumeMessage(Header, Target, out bool consumed);
        return consumed;
    }

    public bool TryReserve() => Source.ReserveMessage(Header, Target);

    public void ReleaseReservation() => Source.ReleaseReservation(Header, Target);
}

internal static class TestLimit
{
    public static readonly TimeSpan Time = TimeSpan.FromSeconds(10);
}
