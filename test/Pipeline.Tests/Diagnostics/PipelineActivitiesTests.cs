using System.Diagnostics;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Diagnostics;

[NonParallelizable]
public sealed class PipelineActivitiesTests
{
    private static readonly IPEndPoint Remote = new(IPAddress.Parse("203.0.113.7"), 26656);
    private static readonly NodeId Id = NodeId.Parse("00112233445566778899aabbccddeeff00112233");

    private readonly List<Activity> _ended = [];

    [Test]
    public void A_handshake_says_with_whom_and_how_it_ended()
    {
        using ActivityListener listener = Listen();
        Activity activity = PipelineActivities.StartHandshake(Remote, dialled: null)!;
        PipelineActivities.EndHandshake(activity, new NodeInfo { Id = Id }, failure: null);
        Assert.That(_ended, Is.EqualTo([activity]));
        Assert.That(activity.OperationName, Is.EqualTo("pipeline.handshake"));
        Assert.That(activity.Kind, Is.EqualTo(ActivityKind.Server));
        Assert.That(activity.Status, Is.EqualTo(ActivityStatusCode.Unset));
        Assert.That(
            activity.TagObjects,
            Is.EquivalentTo(new Dictionary<string, object?>
            {
                ["pipeline.direction"] = "inbound",
                ["network.peer.address"] = "203.0.113.7",
                ["network.peer.port"] = 26656,
                ["pipeline.peer.id"] = Id.ToString(),
                ["pipeline.outcome"] = "success",
            }));
    }

    [Test]
    public void A_handshake_that_fails_says_why()
    {
        using ActivityListener listener = Listen();
        Activity activity = PipelineActivities.StartHandshake(Remote, Id)!;
        Assert.That(activity.GetTagItem("pipeline.peer.id"), Is.EqualTo(Id.ToString()), "who was dialled");

        NodeId answered = NodeId.Parse("ffeeddccbbaa99887766554433221100ffeeddcc");
        PipelineActivities.EndHandshake(activity, remote: null, new HandshakeException(HandshakeFailure.WrongNode, "Another node answered.") { RemoteId = answered });
        using (Assert.EnterMultipleScope())
        {
            Assert.That(activity.Kind, Is.EqualTo(ActivityKind.Client));
            Assert.That(activity.GetTagItem("pipeline.direction"), Is.EqualTo("outbound"));
            Assert.That(activity.GetTagItem("pipeline.outcome"), Is.EqualTo("wrong_node"));
            Assert.That(activity.GetTagItem("pipeline.peer.id"), Is.EqualTo(answered.ToString()), "who answered");
            Assert.That(activity.Status, Is.EqualTo(ActivityStatusCode.Error));
            Assert.That(activity.StatusDescription, Is.EqualTo("Another node answered."));
            Assert.That(activity.Events.Single().Name, Is.EqualTo("exception"));
        }
    }

    [TestCase(DisconnectKind.ProtocolViolation, ActivityStatusCode.Error)]
    [TestCase(DisconnectKind.ReactorFailed, ActivityStatusCode.Error)]
    [TestCase(DisconnectKind.RemoteClosed, ActivityStatusCode.Unset)]
    [TestCase(DisconnectKind.SwitchStopped, ActivityStatusCode.Unset)]
    public void A_connection_says_who_it_is_and_at_its_end_why_and_how_much(DisconnectKind kind, ActivityStatusCode expected)
    {
        using ActivityListener listener = Listen();
        ChannelDescriptor channel = new(1, "channel");
        using StubPeer peer = new()
        {
            IsOutbound = true,
            Status = new ConnectionStatus(
                TimeSpan.Zero,
                10,
                20,
                false,
                [new ChannelStatus(channel, 0, 0, 1, 0, 0, 0, 2, 0, 0), new ChannelStatus(channel, 0, 0, 3, 0, 0, 0, 4, 0, 0)]),
        };
        Activity handshake = PipelineActivities.StartHandshake(Remote, Id)!;
        Activity activity = PipelineActivities.StartConnection(peer, handshake)!;
        PipelineActivities.EndConnection(activity, peer, new DisconnectReason(kind, "It is over.", new IOException("broken")));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(activity.OperationName, Is.EqualTo("pipeline.connection"));
            Assert.That(activity.Links.Single().Context, Is.EqualTo(handshake.Context));
            Assert.That(activity.Status, Is.EqualTo(expected));
            Assert.That(activity.Events.Single().Name, Is.EqualTo("exception"));
            Assert.That(
                activity.TagObjects,
                Is.EquivalentTo(new Dictionary<string, object?>
                {
                    ["pipeline.direction"] = "outbound",
                    ["network.peer.address"] = "127.0.0.1",
                    ["network.peer.port"] = 1,
                    ["pipeline.peer.id"] = peer.Id.ToString(),
                    ["pipeline.peer.moniker"] = "stub",
                    ["pipeline.outcome"] = SnakeCase<DisconnectKind>.Of(kind),
                    ["pipeline.reason"] = "It is over.",
                    ["pipeline.bytes_sent"] = 10L,
                    ["pipeline.bytes_received"] = 20L,
                    ["pipeline.messages_sent"] = 4L,
                    ["pipeline.messages_received"] = 6L,
                }));
        }
    }

    [Test]
    public void A_handshake_is_part_of_what_the_caller_does_and_a_connection_is_not()
    {
        using ActivityListener listener = Listen();
        using StubPeer peer = new();
        using Activity dialling = new Activity("dialling").Start();
        Activity handshake = PipelineActivities.StartHandshake(Remote, Id)!;
        Activity connection = PipelineActivities.StartConnection(peer, handshake)!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Activity.Current, Is.SameAs(dialling), "what the caller does next is no part of either");
            Assert.That(handshake.ParentSpanId, Is.EqualTo(dialling.SpanId));
            Assert.That(handshake.TraceId, Is.EqualTo(dialling.TraceId));
            Assert.That(connection.Parent, Is.Null);
            Assert.That(connection.TraceId, Is.Not.EqualTo(dialling.TraceId));
        }

        using Activity later = new Activity("later").Start();
        PipelineActivities.EndHandshake(handshake, new NodeInfo { Id = Id }, failure: null);
        PipelineActivities.EndConnection(connection, peer, new DisconnectReason(DisconnectKind.Stopped, "over"));
        Assert.That(Activity.Current, Is.SameAs(later));
    }

    [Test]
    public void Nothing_is_done_while_nobody_listens()
    {
        using StubPeer peer = new();
        NodeInfo info = new() { Id = Id };
        DisconnectReason reason = new(DisconnectKind.Stopped, "over");
        HappenOften(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        HappenOften(1000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(peer.StatusReads, Is.Zero);

        void HappenOften(int count)
        {
            for (int i = 0; i < count; i++)
            {
                Activity? handshake = PipelineActivities.StartHandshake(Remote, Id);
                PipelineActivities.EndHandshake(handshake, info, failure: null);
                PipelineActivities.EndConnection(PipelineActivities.StartConnection(peer, handshake), peer, reason);
            }
        }
    }

    private ActivityListener Listen()
    {
        _ended.Clear();
        ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name == PipelineDiagnostics.ActivitySourceName,
            Sample = (ref _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = _ended.Add,
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }
}
