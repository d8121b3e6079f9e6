using System.Globalization;
using System.Text.Json;
using Pipeline.Protocols.BlockSync;
using Spectre.Console;

namespace Pipeline.Cli.Syncing;

/// <summary>Shows how far a sync is: a bar on a terminal, a line a second elsewhere, objects with JSON.</summary>
/// <param name="host">Where.</param>
/// <param name="isJson">Whether it is for programs.</param>
/// <param name="time">Where time comes from.</param>
internal sealed class SyncView(CommandHost host, bool isJson, TimeProvider time)
{
    private static readonly TimeSpan FramePeriod = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LinePeriod = TimeSpan.FromSeconds(1);

    /// <summary>Shows a sync until it is over.</summary>
    public async Task ShowAsync(Task syncing, Func<BlockSyncProgress> read)
    {
        if (isJson || host.Terminal is not { } terminal)
        {
            await FollowAsync(LinePeriod, () => host.Output.WriteLine(isJson ? ToJson(read()) : Describe(read())));
            return;
        }

        long first = 0;
        await terminal.Progress()
            .AutoClear(true)
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .StartAsync(async context =>
            {
                ProgressTask bar = context.AddTask("asking the peers", maxValue: 1);
                await FollowAsync(FramePeriod, () =>
                {
                    BlockSyncProgress progress = read();
                    first = first == 0 && progress.Verified > 0 ? progress.Height - progress.Verified : first;
                    bar.Description = Markup.Escape(Describe(progress));
                    bar.MaxValue = Math.Max(1, progress.Target - first);
                    bar.Value = progress.Verified;
                });
            });

        async Task FollowAsync(TimeSpan period, Action show)
        {
            using PeriodicTimer timer = new(period, time);
            while (await Task.WhenAny(syncing, timer.WaitForNextTickAsync().AsTask()) != syncing)
            {
                show();
            }
        }
    }

    /// <summary>Says what a peer did wrong.</summary>
    public void Tell(BlockSyncFault fault)
    {
        if (isJson)
        {
            host.Output.WriteLine(JsonSerializer.Serialize(new { @event = "peer_fault", peer = fault.Peer.ToString(), lied = fault.IsLie, message = fault.Message }));
        }
        else
        {
            host.Error.WriteLine(Printable.Of($"{fault.Peer} {(fault.IsLie ? "lied and is banned" : "is asked no more")}: {fault.Message}"));
        }
    }

    /// <summary>Says what there is in the end.</summary>
    public async Task FinishAsync(BlockRange range, long verified, TimeSpan elapsed, string end) => await host.Output.WriteLineAsync(isJson
        ? JsonSerializer.Serialize(new { @event = end, verified, @base = range.Base, height = range.Height, seconds = Math.Round(elapsed.TotalSeconds, 3) })
        : string.Create(
            CultureInfo.InvariantCulture,
            $"{(end == "done" ? "Done" : "Ended early")}: {verified:N0} blocks in {elapsed.TotalSeconds:0.00} s; the store has {(range.IsEmpty ? "none" : $"blocks {range.Base} to {range.Height}")}.{(end == "done" ? "" : " The same command goes on from there.")}"));

    private static string Describe(BlockSyncProgress progress) => string.Create(
        CultureInfo.InvariantCulture,
        $"block {progress.Height} of {progress.Target}, {progress.BlocksPerSecond:0} blocks/s, {progress.Peers} peers, {progress.Asked} asked for, {Readable.Bytes(progress.Buffered)} waiting");

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
}
