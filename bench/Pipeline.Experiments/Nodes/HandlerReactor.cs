using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Experiments.Nodes;

/// <summary>A reactor that does with each message what it is told to.</summary>
internal sealed class HandlerReactor(
    string name,
    IEnumerable<ChannelDescriptor> channels,
    Func<Envelope, CancellationToken, ValueTask> handle,
    int maxConcurrency = int.MaxValue) : Reactor(name, channels)
{
    /// <summary>A reactor that deals with each message at once.</summary>
    public HandlerReactor(string name, IEnumerable<ChannelDescriptor> channels, Action<Envelope> handle)
        : this(name, channels, (envelope, _) =>
        {
            handle(envelope);
            return ValueTask.CompletedTask;
        })
    {
    }

    /// <summary>A reactor of a node that only sends.</summary>
    public HandlerReactor(string name, params IEnumerable<ChannelDescriptor> channels)
        : this(name, channels, static _ => { })
    {
    }

    public override int MaxConcurrency => maxConcurrency;

    protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken) => handle(envelope, cancellationToken);
}
