using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Samples.RequestReply;
using Pipeline.Switching;

namespace Pipeline.Samples.Tests;

public sealed class RequestReplyTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    [Test, CancelAfter(30_000)]
    public async Task Questions_are_answered_at_most_so_many_at_once(CancellationToken cancellationToken)
    {
        RequestReactor asking = new(_ => "", Limit);
        RequestReactor answering = new(question => string.Concat(question.Reverse()), Limit);
        await using Pair pair = await Pair.StartAsync(asking, answering, cancellationToken);
        string[] answers = await Task.WhenAll(Enumerable.Range(100, 200).Select(i => asking.AskAsync(pair.Peer, $"{i}", cancellationToken)));
        Assert.That(answers, Is.EqualTo(Enumerable.Range(100, 200).Select(i => string.Concat($"{i}".Reverse()))));
        Assert.That(pair.Peer.Stopped.IsCancellationRequested, Is.False, "nobody sent more than there is room for");
    }

    [Test, CancelAfter(30_000)]
    public async Task Both_can_ask_at_the_same_time(CancellationToken cancellationToken)
    {
        RequestReactor here = new(question => question + " here", Limit);
        RequestReactor there = new(question => question + " there", Limit);
        await using Pair pair = await Pair.StartAsync(here, there, cancellationToken);
        Task<string>[] fromHere = [.. Enumerable.Range(0, 200).Select(_ => here.AskAsync(pair.Peer, "who is", cancellationToken))];
        Task<string>[] fromThere = [.. Enumerable.Range(0, 200).Select(_ => there.AskAsync(pair.OtherPeer, "who is", cancellationToken))];
        Assert.That(await Task.WhenAll(fromHere), Is.All.EqualTo("who is there"));
        Assert.That(await Task.WhenAll(fromThere), Is.All.EqualTo("who is here"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_does_not_answer_is_asked_so_often_and_no_more(CancellationToken cancellationToken)
    {
        RequestReactor asking = new(_ => "", TimeSpan.FromMilliseconds(100));
        Impostor silent = new();
        await using Pair pair = await Pair.StartAsync(asking, silent, cancellationToken);
        Task[] questions = [.. Enumerable.Range(0, 2 * RequestReactor.MaxInFlight).Select(_ => asking.AskAsync(pair.Peer, "well?", cancellationToken))];
        foreach (Task question in questions)
        {
            Assert.That(async () => await question.WaitAsync(Limit, cancellationToken), Throws.InstanceOf<TimeoutException>());
        }

        // It answers the first, late: that is no offence, and makes room for one more.
        Frame first = await silent.NextAsync(cancellationToken);
        silent.Send(new Frame { Reply = new Reply { Id = first.Request.Id, Answer = "late" } });
        for (int i = 1; i < RequestReactor.MaxInFlight; i++)
        {
            await silent.NextAsync(cancellationToken);
        }

        Assert.That(async () => await asking.AskAsync(pair.Peer, "still there?", cancellationToken), Throws.InstanceOf<TimeoutException>());
        Assert.That((await silent.NextAsync(cancellationToken)).Request.Question, Is.EqualTo("still there?"), "those in between were never sent");
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_answers_what_was_not_asked_is_stopped(CancellationToken cancellationToken)
    {
        Impostor impostor = new();
        await using Pair pair = await Pair.StartAsync(new RequestReactor(_ => "", Limit), impostor, cancellationToken);
        impostor.Send(new Frame { Reply = new Reply { Id = 77, Answer = "unasked" } });
        DisconnectReason reason = await pair.Peer.Completion.WaitAsync(Limit, cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        Assert.That(reason.Message, Does.Contain("not asked"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_asks_too_much_at_once_is_disconnected_and_who_waits_for_it_learns_that_it_left(CancellationToken cancellationToken)
    {
        using ManualResetEventSlim gate = new();
        RequestReactor busy = new(
            _ =>
            {
                gate.Wait(cancellationToken);
                return "";
            },
            Limit);
        Impostor impostor = new();
        await using Pair pair = await Pair.StartAsync(busy, impostor, cancellationToken);
        Task<string> question = busy.AskAsync(pair.Peer, "and you?", cancellationToken);
        for (ulong id = 0; id < 100; id++)
        {
            await impostor.Switch.BroadcastAsync(RequestReactor.Channel, new Frame { Request = new Request { Id = id } }, recipients: null, cancellationToken);
        }

        await Task.Run(() => pair.Peer.Stopped.WaitHandle.WaitOne(Limit), cancellationToken);
        gate.Set();
        DisconnectReason reason = await pair.Peer.Completion.WaitAsync(Limit, cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.LaneFull));
        Assert.That(async () => await question.WaitAsync(Limit, cancellationToken), Throws.InstanceOf<IOException>());
    }

    /// <summary>Speaks on the channel, but not the protocol.</summary>
    private sealed class Impostor() : Reactor<Frame>("request", RequestReactor.Channel)
    {
        private readonly System.Threading.Channels.Channel<Frame> _frames = System.Threading.Channels.Channel.CreateUnbounded<Frame>();

        public Task<Frame> NextAsync(CancellationToken cancellationToken) => _frames.Reader.ReadAsync(cancellationToken).AsTask();

        public void Send(Frame frame) =>
            Assert.That(Switch.TryBroadcast(RequestReactor.Channel, frame).Select(sent => sent.Result), Is.EqualTo(new[] { SendResult.Queued }));

        protected override ValueTask ReceiveAsync(Envelope<Frame> envelope, CancellationToken cancellationToken) =>
            _frames.Writer.WriteAsync(envelope.Message, cancellationToken);
    }

    /// <summary>Two nodes that are connected.</summary>
    private sealed class Pair(Switch here, Switch there, NodeKey[] keys) : IAsyncDisposable
    {
        public IPeer Peer { get; private set; } = null!;

        /// <summary>The peer that the other node has.</summary>
        public IPeer OtherPeer { get; private set; } = null!;

        public static async Task<Pair> StartAsync(Reactor here, Reactor there, CancellationToken cancellationToken)
        {
            SwitchOptions options = new() { ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0), AllowDuplicateIp = true };
            NodeKey[] keys = [NodeKey.Create(), NodeKey.Create()];
            Pair pair = new(new Switch(keys[0], options), new Switch(keys[1], options), keys);
            await pair.StartNodesAsync(here, there, cancellationToken);
            return pair;
        }

        public async ValueTask DisposeAsync()
        {
            await here.DisposeAsync();
            await there.DisposeAsync();
            Array.ForEach(keys, key => key.Dispose());
        }

        private async Task StartNodesAsync(Reactor hereReactor, Reactor thereReactor, CancellationToken cancellationToken)
        {
            here.AddReactor(hereReactor);
            there.AddReactor(thereReactor);
            await there.StartAsync(cancellationToken);
            await here.StartAsync(cancellationToken);
            Peer = await here.DialAsync(there.ListenAddress, cancellationToken);
            while (there.Peers.Count == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                await Task.Yield();
            }

            OtherPeer = there.Peers.Single();
        }
    }
}
