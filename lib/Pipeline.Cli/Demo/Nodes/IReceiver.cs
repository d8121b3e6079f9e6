using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>Who is told what the reactors of the receiver see.</summary>
internal interface IReceiver
{
    /// <summary>A peer is there; said by each reactor.</summary>
    void Join(IPeer peer);

    /// <summary>A message has arrived at its reactor, parsed.</summary>
    /// <param name="peer">The sender.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="data">The bytes that came.</param>
    /// <param name="message">What they say.</param>
    void Receive(IPeer peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage message);
}
