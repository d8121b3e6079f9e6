using System.Globalization;
using System.Text;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Protocols.BlockSync;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Syncing;

/// <summary>Shows how far a sync is: a bar on a terminal, a line a second elsewhere, objects with JSON. Nothing that syncs waits for the output.</summary>
internal sealed class SyncView
{
    private static readonly TimeSpan FramePeriod = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LinePeriod = TimeSpan.FromSeconds(1);

    private readonly CommandHost _host;
    private readonly bool _isJson;
    private readonly TimeProvider _time;
    private readonly IAnsiConsole? _terminal;
    private readonly TextWriter _news;
    private readonly BoundedLines _lines;

    // Held by whoever writes to the terminal: what draws there takes two locks, in one order to draw and in the other to write a line.
    private readonly Lock _drawing = new();

    /// <summary>Makes a view.</summary>
    /// <param name="host">Where.</param>
    /// <param name="isJson">Whether it is for programs.</param>
    /// <param name="time">Where time comes from.</param>
    public SyncView(CommandHost host, bool isJson, TimeProvider time)
    {
        (_host, _isJson, _time) = (host, isJson, time);
        _terminal = isJson ? null : host.Terminal;
        _news = isJson ? host.Output : _terminal is { } terminal ? new AboveBar(terminal, _drawing) : host.Error;
        _lines = new BoundedLines(skipped => (_news, isJson
            ? JsonSerializer.Serialize(new { @event = "skipped", lines = skipped })
            : $"{Readable.Count(skipped)} lines are not shown: they come faster than the output takes them."));
    }

    /// <summary>Shows a sync until it is over.</summary>
    /// <exception cref="IOException">The output cannot be written.</exception>
    public Task ShowAsync(Task syncing, Func<BlockSyncProgress> read)
    {
        return _terminal is { } terminal
            ? terminal.Live(Draw()).AutoClear(true).StartAsync(context => FollowAsync(FramePeriod, () =>
            {
                lock (_drawing)
                {
                    context.UpdateTarget(Draw());
                }
            }))
            : FollowAsync(LinePeriod, () => _lines.TryAdd(_host.Output, read(), _isJson ? ToJson : SyncBar.Describe));

        IRenderable Draw() => new Text(SyncBar.Of(read(), _terminal!.Profile.Width));

        async Task FollowAsync(TimeSpan period, Action show)
        {
            Task writing = _lines.WriteUntilAsync(syncing);
            using PeriodicTimer timer = new(period, _time);
            Task<bool> tick = timer.WaitForNextTickAsync().AsTask();
            while (await Task.WhenAny(syncing, writing, tick) == tick)
            {
                show();
                tick = timer.WaitForNextTickAsync().AsTask();
            }

            await writing;
        }
    }

    /// <summary>Says what a peer did wrong. From any thread; never waits.</summary>
    public void Tell(BlockSyncFault fault) => _lines.TryAdd(_news, fault, fault => _isJson
        ? Printable.Json(JsonSerializer.Serialize(new { @event = "peer_fault", peer = fault.Peer.ToString(), lied = fault.IsLie, message = fault.Message }))
        : Printable.Of($"{fault.Peer} {(fault.IsLie ? "lied and is banned" : "is asked no more")}: {fault.Message}"));

    /// <summary>Says that a peer could not be reached when another could. From any thread; never waits.</summary>
    public void Tell(NodeId peer, IOException failure) => _lines.TryAdd(_news, failure, failure => _isJson
        ? Printable.Json(JsonSerializer.Serialize(new { @event = "peer_unreachable", peer = peer.ToString(), message = failure.Message }))
        : Printable.Of($"{peer} is not reached, and dialled again: {failure.Message}"));

    /// <summary>Says what there is in the end.</summary>
    public async Task FinishAsync(BlockRange range, long verified, TimeSpan elapsed, string end) => await _host.Output.WriteLineAsync(_isJson
        ? JsonSerializer.Serialize(new { @event = end, verified, @base = range.Base, height = range.Height, seconds = Math.Round(elapsed.TotalSeconds, 3) })
        : string.Create(
            CultureInfo.InvariantCulture,
            $"{(end == "done" ? "Done" : "Ended early")}: {verified:N0} blocks in {elapsed.TotalSeconds:0.00} s; the store has {(range.IsEmpty ? "none" : $"blocks {range.Base} to {range.Height}")}.{(end == "done" ? "" : " The same command goes on from there.")}"));

    private static string ToJson(BlockSyncProgress progress) => JsonSerializer.Serialize(new
    {
        @event = "progress",
        height = progress.Height,
        target = progress.Target,
        verified = progress.Verified,
        blocks_per_second = Math.Round(progress.BlocksPerSecond, 1),
        peers = progress.Peers,
        asked = progress.Asked,
        buffered_bytes = progress.Buffered,
    });

    /// <summary>Lines above what is drawn on a terminal.</summary>
    private sealed class AboveBar(IAnsiConsole terminal, Lock drawing) : TextWriter
    {
        public override Encoding Encoding => Encoding.UTF8;

        public override Task WriteLineAsync(string? value)
        {
            lock (drawing)
            {
                terminal.Write(new Text(value + "\n"));
            }

            return Task.CompletedTask;
        }
    }
}
