using System.Collections.Immutable;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>
/// A protocol: the channels it speaks on, and what it does when peers come, send and go. This class sees messages as bytes, as a relay
/// may want to; see <see cref="Reactor{TMessage}"/> for parsed messages, and <see cref="DataflowReactor{TMessage}"/> for a reactor made
/// of linked blocks.
/// </summary>
/// <remarks>
/// <para>The calls follow a grammar, however peers come and go: <see cref="InitPeerAsync"/>, then <see cref="ReceiveAsync"/> any number of
/// times, with <see cref="AddPeerAsync"/> once somewhere among them unless the peer left before, then <see cref="RemovePeerAsync"/>, after
/// which nothing comes from that peer. For one peer <see cref="ReceiveAsync"/> runs for one message at a time; everything runs at once
/// for different peers.</para>
/// <para>A callback that throws stops the peer it was about, never the switch. One that blocks its thread, instead of awaiting, takes a
/// thread of the pool from everybody for as long.</para>
/// <para>Source: <c>docs/protocol.md</c>, the grammar of reactor calls.</para>
/// </remarks>
public abstract class Reactor
{
    private ISwitch? _switch;

    /// <summary>Makes a reactor.</summary>
    /// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
    /// <param name="channels">The channels of the protocol.</param>
    protected Reactor(string name, params IEnumerable<ChannelDescriptor> channels)
        : this(name, channels, hasHandler: true)
    {
    }

    private protected Reactor(string name, IEnumerable<ChannelDescriptor> channels, bool hasHandler)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        ArgumentNullException.ThrowIfNull(channels);
        Name = name;
        Channels = [.. channels];
        Inbox = new ReactorInbox(Channels, hasHandler ? HandleAsync : null);
        Outbox = new ReactorOutbox(() => _switch?.Peers ?? []);
    }

    /// <summary>What logs, metrics and other reactors call it.</summary>
    public string Name { get; }

    /// <summary>The channels of the protocol.</summary>
    public ImmutableArray<ChannelDescriptor> Channels { get; }

    /// <summary>Where messages for peers can be put without waiting for each peer.</summary>
    public ReactorOutbox Outbox { get; }

    /// <summary>The node that the reactor is part of.</summary>
    /// <exception cref="InvalidOperationException">The reactor has not been added to a switch.</exception>
    public ISwitch Switch => _switch ?? throw new InvalidOperationException($"Reactor '{Name}' has not been added to a switch.");

    /// <summary>
    /// How many messages the reactor deals with at once, each of another peer: 1 for a reactor that wants no concurrency in
    /// <see cref="ReceiveAsync"/>. Peers then take turns by bytes. At least 1; default: no limit.
    /// </summary>
    public virtual int MaxConcurrency => int.MaxValue;

    internal ReactorInbox Inbox { get; }

    /// <param name="value">The switch.</param>
    /// <param name="options">Says how much may wait in the outbox.</param>
    /// <param name="onError">Is told of errors that concern no single peer: in the blocks that a reactor is made of, and in its outbox.</param>
    internal void SetSwitch(ISwitch value, ConnectionOptions options, Action<Reactor, string, Exception> onError)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxConcurrency, 1, nameof(MaxConcurrency));
        Inbox.MaxConcurrency = MaxConcurrency;
        Outbox.Options = options;
        Outbox.OnError = e => onError(this, nameof(Outbox), e);
        _ = Inbox.Completion.ContinueWith(
            inbox => onError(this, nameof(Inbox), inbox.Exception!.InnerException!),
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted,
            TaskScheduler.Default);
        if (Interlocked.CompareExchange(ref _switch, value, null) is not null)
        {
            throw new InvalidOperationException($"Reactor '{Name}' has been added to a switch already.");
        }
    }

    /// <summary>The switch starts; there are no peers yet. What it throws stops the start.</summary>
    protected internal virtual ValueTask OnStartAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>The switch has stopped; there are no peers any more.</summary>
    protected internal virtual ValueTask OnStopAsync() => ValueTask.CompletedTask;

    /// <summary>A peer is about to start; make what <see cref="ReceiveAsync"/> needs for it. Nothing can be sent yet.</summary>
    protected internal virtual ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>A peer has started; from now on messages can be sent to it. Messages of the peer may have come before.</summary>
    protected internal virtual ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>A peer has stopped, for a reason. Follows every <see cref="InitPeerAsync"/>, also one that threw.</summary>
    protected internal virtual ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason) => ValueTask.CompletedTask;

    /// <summary>A peer sent a message.</summary>
    /// <param name="envelope">The message. Its bytes are valid until this is done.</param>
    /// <param name="cancellationToken">
    /// Cancelled when what the peer sent does not count any more. A peer that left by itself, or took part in a graceful stop, may have sent
    /// messages before, which are still dealt with.
    /// </param>
    protected internal virtual ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    // A reactor may throw anything; it stops the peer whose message it was dealing with.
    private ValueTask HandleAsync(Envelope envelope, CancellationToken cancellationToken)
    {
        try
        {
            ValueTask handling = ReceiveAsync(envelope, cancellationToken);
            if (handling.IsCompletedSuccessfully)
            {
                envelope.Release();
                return handling;
            }

            return FinishAsync(envelope, handling, cancellationToken);
        }
        catch (Exception e)
        {
            Fail(envelope, e, cancellationToken);
            return ValueTask.CompletedTask;
        }
    }

    private async ValueTask FinishAsync(Envelope envelope, ValueTask handling, CancellationToken cancellationToken)
    {
        try
        {
            await handling.ConfigureAwait(false);
            envelope.Release();
        }
        catch (Exception e)
        {
            Fail(envelope, e, cancellationToken);
        }
    }

    private void Fail(in Envelope envelope, Exception exception, CancellationToken cancellationToken)
    {
        envelope.Release();

        // Being cancelled is no failure.
        if (!(exception is OperationCanceledException && cancellationToken.IsCancellationRequested))
        {
            envelope.Peer.Stop(ReactorFailure.Of(this, nameof(ReceiveAsync), exception));
        }
    }
}
