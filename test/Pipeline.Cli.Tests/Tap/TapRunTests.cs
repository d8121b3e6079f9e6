using System.Collections.Immutable;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Tap;
using Pipeline.Cli.Tap.Views;
using Pipeline.Cli.Traces;
using Mempool = Pipeline.Protocols.Mempool;

namespace Pipeline.Cli.Tests.Tap;

[TestFixture]
public sealed class TapRunTests
{
    private static readonly byte[] Transactions = [0x0a, 0x03, 0x0a, 0x01, 0x07];

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-tap-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test, CancelAfter(30_000)]
    public async Task At_the_limit_of_a_trace_the_recording_ends_and_listening_goes_on(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(Enumerable.Repeat(((byte)0x30, Transactions), 5), cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        FileStream file = new(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
        using TraceWriter recording = new(path, file, isOurs: true, TimeProvider.System) { MaxMessages = 3 };
        RecordingView view = new();

        TapResult result = await new TapRun(Options(node) with { Count = 5 }, view, recording, TimeProvider.System).RunAsync(cancellationToken);

        Assert.That(result, Has.Property("ExitCode").Zero.And.Property("Failure").Null);
        Assert.That(result.Recording!.Traffic.Messages, Is.EqualTo(3));
        Assert.That(result.Recording.Ended, Does.Contain("it has 3 messages"));
        Assert.That(view.Messages, Has.Count.EqualTo(5));
        Assert.That(view.News.Where(news => news.Event == "recording_ended").Select(news => news.Text), Is.EqualTo(new[]
        {
            "The recording has ended: it has 3 messages, which is the most that a trace may have. Listening goes on.",
        }));
        Assert.That(Trace.ReadFile(path).Messages, Has.Count.EqualTo(3));
        Assert.That(new TextFormat(TextWriter.Null).Of(result), Has.Some.Contains("Recorded 3 messages").And.Some.Contains("it has 3 messages"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_leaves_is_dialled_again_and_stays_the_same_peer_of_the_recording(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions)], cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        FakeTimeProvider time = new();
        using TraceWriter recording = TraceWriter.Open(path, WhenFileExists.Refuse, time);
        RecordingView view = new();
        Task<TapResult> run = new TapRun(Options(node) with { Count = 2 }, view, recording, time).RunAsync(cancellationToken);

        await view.WhenHeardAsync(1, cancellationToken);
        Assert.That(await node.IsDialledAsync(cancellationToken), Is.True);
        node.Disconnect();

        // As long as it takes to be dialled again, and no longer: the handshake has its limit too.
        do
        {
            time.Advance(TimeSpan.FromSeconds(8));
        }
        while (!await node.IsDialledAsync(cancellationToken));

        Assert.That(await run, Has.Property("ExitCode").Zero);
        Assert.That(node.Peers, Is.EqualTo(2));
        Assert.That(view.News.Select(news => news.Event), Is.EqualTo(new[] { "peer_connected", "peer_disconnected", "peer_connected" }));
        Assert.That(Trace.ReadFile(path).Messages.Select(message => message.Peer), Is.EqualTo(new[] { 0, 0 }));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_was_recorded_is_in_the_file_a_second_later(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions)], cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        FakeTimeProvider time = new();
        using TraceWriter recording = TraceWriter.Open(path, WhenFileExists.Refuse, time);
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        RecordingView view = new();
        Task<TapResult> run = new TapRun(Options(node), view, recording, time).RunAsync(interrupt.Token);

        await view.WhenHeardAsync(1, cancellationToken);
        while (new FileInfo(path).Length == 0)
        {
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        Assert.That(Trace.ReadFile(path).Messages, Is.Not.Empty, "while it goes on");
        await interrupt.CancelAsync();
        Assert.That(await run, Has.Property("ExitCode").EqualTo(130));
    }

    [Test, CancelAfter(60_000)]
    public async Task An_output_that_takes_nothing_holds_up_neither_the_recording_nor_the_memory(CancellationToken cancellationToken)
    {
        byte[] large = new Mempool.Message { Txs = new() { Txs_ = { ByteString.CopyFrom(new byte[100_000]) } } }.ToByteArray();
        const int Count = 100;
        await using RecordedNode node = await RecordedNode.StartAsync(Enumerable.Repeat(((byte)0x30, large), Count), cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        using TraceWriter recording = TraceWriter.Open(path, WhenFileExists.Refuse, TimeProvider.System);
        using StuckWriter output = new();
        MessageLines lines = new(new JsonFormat(output), output);
        RecordingView view = new(lines);
        Task<TapResult> run = new TapRun(Options(node) with { Count = Count }, view, recording, TimeProvider.System).RunAsync(cancellationToken);

        // All of it has come, and the output has taken nothing.
        await view.WhenHeardAsync(Count, cancellationToken);
        Assert.That(lines.Skipped, Is.GreaterThan(50));
        Assert.That(recording.Messages, Is.EqualTo(Count));
        output.Release();
        TapResult result = await run;

        Assert.That(result.Skipped, Is.EqualTo(lines.Skipped));
        Assert.That(output.ToString(), Has.Length.LessThan(BoundedLines.MaxWaiting + 500_000), "what waited, and a line or two more");
        string[] written = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(written.Count(line => line.StartsWith("{\"event\":\"message\"", StringComparison.Ordinal)) + result.Skipped, Is.EqualTo(Count));
        Assert.That(written, Has.One.EqualTo($"{{\"event\":\"skipped\",\"messages\":{result.Skipped}}}"));
        Assert.That(Trace.ReadFile(path).Messages, Has.Count.EqualTo(Count));
    }

    private static TapOptions Options(params ImmutableArray<RecordedNode> nodes) => new()
    {
        Addresses = [.. nodes.Select(node => node.Address)],
        Network = "chain-1",
        Filter = new TapFilter([], [], []),
    };
}
