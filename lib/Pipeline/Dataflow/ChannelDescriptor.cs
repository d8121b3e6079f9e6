using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// Describes a channel: a numbered lane of messages that one reactor owns. Both ends of a connection must know a channel
/// to use it.
/// </summary>
/// <remarks>Source: the reference's channel descriptor; the standard channels are listed in <c>docs/protocol.md</c>.</remarks>
public class ChannelDescriptor
{
    /// <summary>The largest message a channel accepts unless told otherwise: 22,020,096 bytes, the reference's default.</summary>
    public const int DefaultMaxMessageSize = 22_020_096;

    /// <summary>Creates a descriptor.</summary>
    /// <param name="id">The number of the channel on the wire, 0 to 255.</param>
    /// <param name="name">What logs, metrics and views call the channel; not empty.</param>
    /// <exception cref="ArgumentException"><paramref name="name"/> is empty.</exception>
    public ChannelDescriptor(byte id, string name)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        Id = id;
        Name = name;
    }

    /// <summary>The number of the channel on the wire.</summary>
    public byte Id { get; }

    /// <summary>What logs, metrics and views call the channel.</summary>
    public string Name { get; }

    /// <summary>
    /// The channel's weight: under saturation it gets bytes in proportion to it. At least 1; default 1.
    /// </summary>
    public int Priority
    {
        get;
        init => field = AtLeast(1, value, nameof(Priority));
    } = 1;

    /// <summary>How many messages may wait to be sent to one peer. At least 1; default 1.</summary>
    public int SendQueueCapacity
    {
        get;
        init => field = AtLeast(1, value, nameof(SendQueueCapacity));
    } = 1;

    /// <summary>
    /// How many bytes may wait to be sent to one peer; a message that is larger than this waits alone. At least 1; default 4 MiB.
    /// </summary>
    public int SendQueueBytes
    {
        get;
        init => field = AtLeast(1, value, nameof(SendQueueBytes));
    } = 4 << 20;

    /// <summary>
    /// The largest message, in bytes: a longer one is not sent, and a peer that sends one is disconnected. At least 1; default
    /// <see cref="DefaultMaxMessageSize"/>.
    /// </summary>
    public int MaxMessageSize
    {
        get;
        init => field = AtLeast(1, value, nameof(MaxMessageSize));
    } = DefaultMaxMessageSize;

    /// <summary>How many messages of one peer may wait for the reactor. At least 1; default 256.</summary>
    public int ReceiveQueueCapacity
    {
        get;
        init => field = AtLeast(1, value, nameof(ReceiveQueueCapacity));
    } = 256;

    /// <summary>
    /// How many bytes of one peer may wait for the reactor; a message that is larger than this waits alone. At least 1; default 4 MiB.
    /// </summary>
    public int ReceiveQueueBytes
    {
        get;
        init => field = AtLeast(1, value, nameof(ReceiveQueueBytes));
    } = 4 << 20;

    /// <summary>
    /// What happens to a message of a peer that finds as many waiting for the reactor as may. Default <see cref="FullLanePolicy.Wait"/>.
    /// </summary>
    public FullLanePolicy WhenFull { get; init; } = FullLanePolicy.Wait;

    /// <summary>Names the messages of the channel; null when their type is not known.</summary>
    internal virtual MessageLabels? Labels => null;

    /// <summary>The channel's id and name, as <c>0x20 consensus state</c>.</summary>
    public override string ToString() => $"0x{Id:x2} {Name}";

    private int AtLeast(int minimum, int value, string property) => value >= minimum
        ? value
        : throw new ArgumentOutOfRangeException(property, value, $"{property} of channel {this} is at least {minimum}.");
}
