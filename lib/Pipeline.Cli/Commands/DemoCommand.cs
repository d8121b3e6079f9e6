using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Demo;
using Pipeline.Cli.Demo.Nodes;
using Pipeline.Cli.Demo.Views;
using Pipeline.Cli.Traces;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline demo</c>: recorded traffic of a real network flows through encrypted connections into reactors.</summary>
internal static class DemoCommand
{
    private const double DefaultSpeed = 5;

    public static Command Create(CommandHost host, CommonOptions common)
    {
        Option<double> speed = new("--speed")
        {
            HelpName = "N|max",
            Description = "How many times as fast as recorded; max is as fast as the receiver takes it. [default: 5]",
            CustomParser = ParseSpeed,
        };
        Option<TimeSpan> duration = new("--duration")
        {
            HelpName = "DURATION",
            Description = "Send nothing any more after this time, such as 500ms, 3s or 1m30s. [default: until all is sent]",
            CustomParser = Duration.ParseOption,
        };
        Option<string?> trace = new("--trace")
        {
            HelpName = "FILE",
            Description = "A recording to send instead of the one that comes with the command, gzipped or not.",
        };
        Option<bool> salvage = new("--salvage")
        {
            Description = "Use what is whole of a --trace that was cut short, such as one whose recording was killed.",
        };

        Command command = new("demo", "Send recorded traffic of a real network from a node for each of its peers into the reactors of one more, and check that all arrives.")
        {
            speed, duration, trace, salvage,
        };
        command.SetAction(async (arguments, cancellationToken) =>
        {
            using ILoggerFactory loggers = common.CreateLoggerFactory(host, arguments);
            ReplayPace pace = new(
                arguments.GetResult(speed) is null ? DefaultSpeed : arguments.GetValue(speed),
                arguments.GetResult(duration) is null ? null : arguments.GetValue(duration));
            WhenCutShort cutShort = arguments.GetValue(salvage) ? WhenCutShort.UseWhatIsWhole : WhenCutShort.Refuse;
            return await RunAsync(host, arguments.GetValue(trace), cutShort, pace, arguments.GetValue(common.Json), loggers, cancellationToken);
        });
        return command;
    }

    private static async Task<int> RunAsync(
        CommandHost host,
        string? path,
        WhenCutShort cutShort,
        ReplayPace pace,
        bool json,
        ILoggerFactory loggers,
        CancellationToken cancellationToken)
    {
        TimeProvider time = TimeProvider.System;
        DemoSummary summary;
        try
        {
            Trace trace = path is null ? Trace.ReadBundled() : Trace.ReadFile(path, cutShort);
            DemoRun demo = new(trace, pace, time)
            {
                Start = (peers, arrived, cancellation) => DemoNetwork.StartAsync(peers, arrived, loggers, cancellation),
            };
            string speed = pace.Speed == ReplayPace.Max ? "as fast as it goes" : $"at {pace.Speed.ToString(CultureInfo.InvariantCulture)} times its speed";
            string title = $"{trace.Peers + 1} nodes, {trace.Peers} {(trace.Peers == 1 ? "sends" : "send")} to the last what was recorded, {speed}";
            IDemoView view = json ? new NoView()
                : host.Terminal is { } terminal ? new LiveView(terminal, title, time)
                : new ProgressLines(host.Output, time);
            summary = await view.ShowAsync(demo.TakeSnapshot, () => demo.RunAsync(cancellationToken));
        }
        catch (TraceException e)
        {
            await host.Error.WriteLineAsync(e.Message);
            return ExitCode.Usage;
        }
        catch (IOException e)
        {
            await host.Error.WriteLineAsync($"The demo's nodes could not be started: {e.Message}");
            return ExitCode.Failure;
        }

        await summary.WriteAsync(host, json);
        return summary.ExitCode;
    }

    private static double ParseSpeed(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (text.Equals("max", StringComparison.OrdinalIgnoreCase))
        {
            return ReplayPace.Max;
        }

        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double speed)
            && speed is >= ReplayPace.SlowestSpeed and <= ReplayPace.FastestSpeed)
        {
            return speed;
        }

        result.AddError(string.Create(
            CultureInfo.InvariantCulture,
            $"--speed '{text}' is neither a number from {ReplayPace.SlowestSpeed} to {ReplayPace.FastestSpeed:N0} nor 'max'."));
        return default;
    }
}
