using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Cli.Tap;

/// <summary>A node that is listened to, over all of its connections.</summary>
/// <param name="index">What a recording calls it: its place among the addresses.</param>
/// <param name="address">Where it is dialled.</param>
internal sealed class TappedNode(int index, NetAddress address)
{
    private volatile string _moniker = "";

    public int Index => index;

    public NetAddress Address => address;

    public NodeId Id => address.Id;

    /// <summary>What it calls itself, for people; empty before it is connected.</summary>
    public string Moniker
    {
        get => _moniker;
        set => _moniker = value;
    }

    /// <summary>The first digits of the id, and what it calls itself, fit for a terminal.</summary>
    public string Name => $"{Id.ToString()[..8]} {Printable.Of(Moniker, 16)}";
}

/// <summary>A message that a node sent.</summary>
/// <param name="At">When it came, since the first node was connected.</param>
/// <param name="From">Who sent it.</param>
/// <param name="Channel">The channel it came on.</param>
/// <param name="Kind">What it is, as <c>new_round_step</c>, or <see cref="Malformed"/>.</param>
/// <param name="Size">Its bytes.</param>
/// <param name="Message">What it says; null when it is malformed.</param>
internal readonly record struct HeardMessage(TimeSpan At, TappedNode From, ChannelDescriptor Channel, string Kind, int Size, IMessage? Message)
{
    /// <summary>The kind of a message that cannot be read.</summary>
    public const string Malformed = "malformed";
}

/// <summary>Something that happened to the tap itself.</summary>
/// <param name="At">When, since the first node was connected.</param>
/// <param name="Event">What, for programs.</param>
/// <param name="Node">The node that it is about, if it is about one.</param>
/// <param name="Text">What, in a sentence for people; not yet fit for a terminal.</param>
internal readonly record struct TapNews(TimeSpan At, string Event, TappedNode? Node, string Text);
