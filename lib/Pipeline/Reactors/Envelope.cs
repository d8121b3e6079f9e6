using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>A message that a peer sent, parsed.</summary>
/// <typeparam name="TMessage">The type of the channel's messages.</typeparam>
public readonly struct Envelope<TMessage>
    where TMessage : class, IMessage<TMessage>
{
    private readonly Envelope _raw;

    /// <summary>Makes an envelope, as tests of reactors may want to.</summary>
    public Envelope(IPeer peer, ChannelDescriptor<TMessage> channel, TMessage message)
        : this(new Envelope(peer, channel, message.ToByteArray()), channel, message)
    {
    }

    private Envelope(Envelope raw, ChannelDescriptor<TMessage> channel, TMessage message)
    {
        _raw = raw;
        Channel = channel;
        Message = message;
    }

    /// <summary>The sender.</summary>
    public IPeer Peer => _raw.Peer;

    /// <summary>The channel of the message.</summary>
    public ChannelDescriptor<TMessage> Channel { get; }

    /// <summary>The message.</summary>
    public TMessage Message { get; }

    /// <summary>
    /// The bytes that the message was parsed from. In <see cref="Reactor{TMessage}"/> they are valid until its callback is done; in a
    /// reactor of blocks they are the receiver's until <see cref="Release"/>.
    /// </summary>
    public ReadOnlyMemory<byte> Data => _raw.Data;

    /// <summary>
    /// Gives the bytes back to the pool they may have come from; the message has its own. Who does not call this leaves them to the garbage
    /// collector. A second call, also on a copy, does nothing.
    /// </summary>
    public void Release() => _raw.Release();

    /// <summary>
    /// Parses an envelope, unless <paramref name="inspect"/> has something against it. When it is not accepted, or cannot be parsed, it is
    /// released, its peer stopped if that is why, and false returned.
    /// </summary>
    internal static bool TryParse(Envelope raw, Func<Envelope, RawVerdict>? inspect, out Envelope<TMessage> parsed)
    {
        parsed = default;
        ChannelDescriptor<TMessage> channel = (ChannelDescriptor<TMessage>)raw.Channel;
        RawVerdict verdict = inspect?.Invoke(raw) ?? RawVerdict.Accept;
        if (verdict.IsIgnored)
        {
            if (verdict.Violation is { } violation)
            {
                raw.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, $"A message on channel {channel} was rejected: {violation}"));
            }

            raw.Release();
            return false;
        }

        try
        {
            parsed = new Envelope<TMessage>(raw, channel, channel.Parser.ParseFrom(raw.Data.Span));
            return true;
        }
        catch (InvalidProtocolBufferException e)
        {
            raw.Peer.Stop(new DisconnectReason(
                DisconnectKind.ProtocolViolation,
                $"A message of {raw.Data.Length} bytes on channel {channel} is not a {typeof(TMessage).Name}: {e.Message}",
                e));
            raw.Release();
            return false;
        }
    }
}
