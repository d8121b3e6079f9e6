using CsCheck;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Switching;

/// <summary>Random histories of a few nodes, whose steps do not wait for one another.</summary>
public sealed class HistoryTests
{
    private const int Nodes = 3;

    private static readonly ChannelDescriptor Chat = new(0x70, "chat") { SendQueueCapacity = 10 };

    private static readonly Gen<Step> AnyStep = Gen.Select(
        Gen.Frequency(
            (6, Gen.Const(StepKind.Dial)),
            (4, Gen.Const(StepKind.CrossingDials)),
            (6, Gen.Const(StepKind.Send)),
            (2, Gen.Const(StepKind.Stop)),
            (2, Gen.Const(StepKind.StopGracefully)),
            (2, Gen.Const(StepKind.Fail)),
            (3, Gen.Const(StepKind.Settle)),
            (1, Gen.Const(StepKind.StopSwitch))),
        Gen.Int[0, Nodes - 1],
        Gen.Int[1, Nodes - 1],
        Gen.Int[(int)Callback.InitPeer, (int)Callback.RemovePeer].Select(callback => (Callback)callback),
        (kind, node, distance, callback) => new Step(kind, node, (node + distance) % Nodes, callback));

    private enum StepKind
    {
        Dial,
        CrossingDials,
        Send,
        Stop,
        StopGracefully,
        Fail,
        Settle,
        StopSwitch,
    }

    [Test]
    [CancelAfter(120_000)]
    public Task Whatever_happens_reactors_are_told_words_of_the_grammar_both_sides_agree_and_nothing_is_left(CancellationToken cancellationToken) =>
        AnyStep.Array[1, 25].SampleAsync(steps => RunAsync(steps, cancellationToken), iter: 200, threads: 2);

    private static async Task RunAsync(Step[] steps, CancellationToken cancellationToken)
    {
        using CancellationTokenSource limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(20));
        RecordingReactor[] second = [.. Enumerable.Range(0, Nodes).Select(_ => new RecordingReactor("second"))];
        TestNode[] nodes = [.. await Task.WhenAll(second.Select(reactor => TestNode.StartAsync(null, reactor, new RecordingReactor("chat", Chat))))];
        List<Task> going = [];
        HashSet<int> stopped = [];
        foreach (Step step in steps)
        {
            TestNode node = nodes[step.Node], other = nodes[step.Other];
            switch (step.Kind)
            {
                case StepKind.Dial:
                    going.Add(DialAsync(node, other));
                    break;
                case StepKind.CrossingDials:
                    going.Add(Task.Run(() => DialAsync(node, other), limit.Token));
                    going.Add(Task.Run(() => DialAsync(other, node), limit.Token));
                    break;
                case StepKind.Send:
                    going.AddRange(node.Switch.Peers.Select(SendAsync));
                    break;
                case StepKind.Stop:
                    Find(node, other)?.Stop(new DisconnectReason(DisconnectKind.Stopped, "Enough."));
                    break;
                case StepKind.StopGracefully:
                    going.Add(Find(node, other) is { } peer ? peer.StopGracefullyAsync() : Task.CompletedTask);
                    break;
                case StepKind.Fail:
                    FailOnce(node.Recording, step.Callback);
                    break;
                case StepKind.Settle:
                    await Task.WhenAll(going).WaitAsync(limit.Token);
                    break;
                default:
                    stopped.Add(step.Node);
                    going.Add(node.Switch.StopAsync());
                    break;
            }
        }

        await Task.WhenAll(going).WaitAsync(limit.Token);
        for (int i = 0; i < Nodes; i++)
        {
            for (int j = 0; j < i; j++)
            {
                await AgreeAsync(nodes[i], nodes[j]);
            }
        }

        Assert.That(stopped.SelectMany(node => nodes[node].Switch.Peers), Is.Empty);
        await Task.WhenAll(nodes.Select(node => node.Switch.StopAsync())).WaitAsync(limit.Token);
        foreach (RecordingReactor reactor in nodes.Select(node => node.Recording).Concat(second))
        {
            Assert.That(reactor.Grammar.Violations, Is.Empty);
            Assert.That(reactor.Grammar.Removed, Is.EqualTo(reactor.Grammar.Initialised));
        }

        Assert.That(nodes.Select(node => node.Transport.Open), Has.All.Zero);
        Assert.That(nodes.SelectMany(node => node.Switch.Peers), Is.Empty);
        await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));

        async Task DialAsync(TestNode node, TestNode other)
        {
            try
            {
                await node.DialAsync(other, limit.Token);
            }
            catch (IOException)
            {
                // Connected already, or one of the two stops.
            }
        }

        async Task SendAsync(IPeer peer)
        {
            using SerializedMessage message = SerializedMessage.Create(Chat, new byte[5000]);
            for (int i = 0; i < 5; i++)
            {
                await peer.SendAsync(message, cancellationToken: limit.Token);
            }
        }

        Task AgreeAsync(TestNode one, TestNode other)
        {
            // What happens is heard of on one side or the other.
            return Task.WhenAny(one.UntilAsync(DoAgree, limit.Token), other.UntilAsync(DoAgree, limit.Token)).Unwrap();

            bool DoAgree() => (Find(one, other), Find(other, one)) switch
            {
                (null, null) => true,
                ({ } there, { } here) => there.IsOutbound != here.IsOutbound && !there.Stopped.IsCancellationRequested && !here.Stopped.IsCancellationRequested,
                _ => false,
            };
        }
    }

    private static IPeer? Find(TestNode node, TestNode other) => node.Switch.Peers.FirstOrDefault(peer => peer.Id == other.Switch.Id);

    private static void FailOnce(RecordingReactor reactor, Callback failing)
    {
        int left = 1;
        reactor.During = async (callback, _, _) =>
        {
            if (callback == failing && Interlocked.Exchange(ref left, 0) == 1)
            {
                await Task.Yield();
                throw new InvalidOperationException("It is ill.");
            }
        };
    }

    private sealed record Step(StepKind Kind, int Node, int Other, Callback Callback);
}
