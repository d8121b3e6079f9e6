using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting.Systemd;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Logging;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;
using Pipeline.Hosting;
using Pipeline.Hosting.Configuration;
using Pipeline.Reactors;
using Spectre.Console;

namespace Pipeline.Cli.Running;

/// <summary>How a node is run.</summary>
/// <param name="IsJson">Whether what is printed is for programs.</param>
/// <param name="Watch">How often to show what the node does; null for never.</param>
internal sealed record RunOptions(bool IsJson, TimeSpan? Watch);

/// <summary>
/// Runs a node until it is told to stop: says when it is up (also to systemd), shows what it does, and reads its lists again on SIGHUP.
/// </summary>
/// <param name="host">Where it is shown.</param>
/// <param name="configuration">What the node is.</param>
/// <param name="load">Reads the configuration again.</param>
/// <param name="options">How to run it.</param>
internal sealed class NodeRun(CommandHost host, NodeConfiguration configuration, Func<NodeConfiguration> load, RunOptions options)
{
    // Redrawn so often, whatever the interval for programs and files is.
    private static readonly TimeSpan FramePeriod = TimeSpan.FromMilliseconds(500);

    private readonly SystemdNotifier _systemd = new();

    // Holds one when SIGHUP has come since the last reload began.
    private readonly Channel<PosixSignal> _hangUps = Channel.CreateBounded<PosixSignal>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly TimeProvider _time = TimeProvider.System;

    /// <summary>What the node does besides exchanging addresses; nothing unless it is said.</summary>
    public ImmutableArray<Reactor> Reactors { get; init; } = [];

    /// <summary>Runs the node until <paramref name="cancellationToken"/> is cancelled, which is its regular end.</summary>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        using RecentLines lines = new();
        bool isScreen = options.Watch is not null && !options.IsJson && host.Terminal is not null;
        using ILoggerFactory loggers = isScreen
            ? new TextLoggerFactory(lines, configuration.LogLevel, LogFormat.Plain, _time)
            : host.CreateLoggerFactory(configuration.LogLevel, configuration.LogFormat);
        bool isUp = false;

        // From before anybody is told that it is up, and so may send the signal, until its files are written.
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            _hangUps.Writer.TryWrite(context.Signal);
        });
        try
        {
            await using Node node = await Node.OpenAsync(configuration, Reactors, Version, loggers, cancellationToken);
            await node.StartAsync(cancellationToken);
            isUp = true;
            await AnnounceAsync(node);
            await RunAsync(node, isScreen ? lines : null, loggers.CreateLogger<NodeRun>(), cancellationToken);
            _systemd.Notify(ServiceState.Stopping);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Before it was up.
        }
        catch (Exception e) when (e is NodeKeyFileException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            await host.Error.WriteLineAsync($"{(isUp ? "The node was stopped, because something failed." : "The node cannot be started.")} {e.Message}");
            return e is NodeKeyFileException or ArgumentException ? ExitCode.Usage : ExitCode.Failure;
        }

        return ExitCode.Success;
    }

    private static string Version => typeof(NodeRun).Assembly.GetName().Version!.ToString(3);

    private async Task RunAsync(Node node, RecentLines? lines, ILogger logger, CancellationToken cancellationToken)
    {
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task reloading = ReloadAsync(node, logger, ended.Token);
        try
        {
            await (options.Watch is { } interval
                ? lines is null ? PrintAsync(node, interval, ended.Token) : DrawAsync(node, lines, ended.Token)
                : Task.Delay(Timeout.InfiniteTimeSpan, _time, ended.Token));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The regular end.
        }
        finally
        {
            await ended.CancelAsync();
            await reloading;
        }
    }

    private async Task AnnounceAsync(Node node)
    {
        string where = node.Configuration.ListenAddress is null ? node.Switch.Id.ToString() : node.Switch.ListenAddress.ToString();
        await host.Output.WriteLineAsync(options.IsJson
            ? JsonSerializer.Serialize(new { @event = "started", id = node.Switch.Id.ToString(), address = where, network = node.Switch.NodeInfo.Network, home = configuration.Home.Path })
            : $"Node {where} of network {node.Switch.NodeInfo.Network} is up.");
        await host.Output.FlushAsync();
        _systemd.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"READY=1\nSTATUS={where}")));
    }

    private async Task ReloadAsync(Node node, ILogger logger, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                await _hangUps.Reader.ReadAsync(cancellationToken);

                // What systemd waits for after RELOADING: the time tells it which reload this is.
                long microseconds = Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);
                _systemd.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={microseconds}")));
                try
                {
                    ReloadResult result = await node.ReloadAsync(load());
                    foreach (string key in result.NeedRestart)
                    {
                        RunLog.NeedsRestart(logger, key);
                    }

                    if (result.BanProblem is { } problem)
                    {
                        RunLog.BansNotReloaded(logger, problem);
                    }

                    RunLog.Reloaded(logger, configuration.Home.ConfigurationFile, node.Bans.Count);
                }
                catch (ConfigurationException e)
                {
                    // The node goes on as it was.
                    RunLog.NotReloaded(logger, string.Join(" ", e.Errors));
                }
                catch (Exception e)
                {
                    // Whatever it is, the next signal may find it mended.
                    RunLog.ReloadFailed(logger, e);
                }

                _systemd.Notify(ServiceState.Ready);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The node stops.
        }
    }

    private async Task DrawAsync(Node node, RecentLines lines, CancellationToken cancellationToken)
    {
        IAnsiConsole terminal = host.Terminal!;
        await terminal.Live(Draw()).AutoClear(true).StartAsync(async context =>
        {
            using PeriodicTimer timer = new(FramePeriod, _time);
            while (await timer.WaitForNextTickAsync(cancellationToken))
            {
                context.UpdateTarget(Draw());
            }
        });

        Spectre.Console.Rendering.IRenderable Draw() => NodeView.Render(
            new NodeSnapshot(node.Switch.GetStatus(), node.Addresses.NewCount, node.Addresses.OldCount, lines.Lines),
            terminal.Profile.Width,
            terminal.Profile.Height);
    }

    private async Task PrintAsync(Node node, TimeSpan interval, CancellationToken cancellationToken)
    {
        using PeriodicTimer timer = new(interval, _time);
        do
        {
            SwitchStatus status = node.Switch.GetStatus();
            await host.Output.WriteLineAsync(options.IsJson
                ? ToJson(status, node)
                : string.Create(
                    CultureInfo.InvariantCulture,
                    $"{status.Time:yyyy-MM-dd'T'HH:mm:ss'Z'} peers {status.OutboundPeers} out, {status.InboundPeers} in, {status.UnconditionalPeers} unconditional; addresses {node.Addresses.NewCount} new, {node.Addresses.OldCount} old; banned {status.Bans.Length}"));
            await host.Output.FlushAsync(cancellationToken);
        }
        while (await timer.WaitForNextTickAsync(cancellationToken));
    }

    private static string ToJson(SwitchStatus status, Node node)
    {
        JsonObject json = JsonSerializer.SerializeToNode(status, SwitchStatus.JsonTypeInfo)!.AsObject();
        json["event"] = "status";
        json["addresses"] = new JsonObject { ["new"] = node.Addresses.NewCount, ["old"] = node.Addresses.OldCount };
        return json.ToJsonString();
    }
}
