using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class LanePolicyTests
{
    [TestCase(FullLanePolicy.Wait, "0 1 2 3 4 5", 0)]
    [TestCase(FullLanePolicy.DropNewest, "0 1 2", 3)]
    [TestCase(FullLanePolicy.DropOldest, "3 4 5", 3)]
    [TestCase(FullLanePolicy.Disconnect, "0 1 2", 3)]
    public void A_full_lane_does_what_its_channel_says(FullLanePolicy policy, string left, int dropped)
    {
        ChannelDescriptor channel = new(1, "prices") { ReceiveQueueCapacity = 3, WhenFull = policy };
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(100);
        ReactorInbox inbox = new([channel]);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        for (byte i = 0; i < 6; i++)
        {
            lanes.Lanes[0].Write(new Envelope(peer, channel, new[] { i }));
        }

        Assert.That(lanes.GetStatus(lanes.Lanes[0]).MessagesDropped, Is.EqualTo(dropped));
        Assert.That(lanes.GetStatus(lanes.Lanes[0]).MessagesReceived, Is.EqualTo(6));
        Assert.That(allowance.IsUsedUp, Is.EqualTo(policy == FullLanePolicy.Wait));
        Assert.That(peer.Reason?.Kind, Is.EqualTo(policy == FullLanePolicy.Disconnect ? DisconnectKind.LaneFull : (DisconnectKind?)null));
        List<byte> read = [];
        while (inbox.TryRead(out Envelope envelope))
        {
            read.Add(envelope.Data.Span[0]);
        }

        Assert.That(string.Join(' ', read), Is.EqualTo(left));
        Assert.That(allowance.IsUsedUp, Is.False);
    }

    [Test]
    public void The_oldest_make_room_for_a_large_message()
    {
        ChannelDescriptor channel = new(1, "c") { ReceiveQueueCapacity = 100, ReceiveQueueBytes = 2000, WhenFull = FullLanePolicy.DropOldest };
        using StubPeer peer = new();
        ReactorInbox inbox = new([channel]);
        PeerLanes lanes = inbox.Open(new ReceiveAllowance(0), CancellationToken.None);
        for (byte i = 0; i < 5; i++)
        {
            lanes.Lanes[0].Write(new Envelope(peer, channel, new byte[200]));
        }

        lanes.Lanes[0].Write(new Envelope(peer, channel, new byte[5000]));
        Assert.That(lanes.GetStatus(lanes.Lanes[0]).Messages, Is.EqualTo(1));
        Assert.That(lanes.GetStatus(lanes.Lanes[0]).MessagesDropped, Is.EqualTo(5));
    }

    [Test]
    public void The_reason_for_a_disconnection_names_the_channel_and_its_bounds()
    {
        ChannelDescriptor channel = new(0x22, "votes") { ReceiveQueueCapacity = 1, WhenFull = FullLanePolicy.Disconnect };
        using StubPeer peer = new();
        PeerLanes lanes = new ReactorInbox([channel]).Open(new ReceiveAllowance(0), CancellationToken.None);
        lanes.Lanes[0].Write(new Envelope(peer, channel, new byte[1]));
        lanes.Lanes[0].Write(new Envelope(peer, channel, new byte[1]));
        Assert.That(peer.Reason!.Message, Does.Contain("0x22 votes").And.Contain("the 1,").And.Contain("4194304 bytes"));
    }
}
