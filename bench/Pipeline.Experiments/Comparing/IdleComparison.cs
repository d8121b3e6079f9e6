using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Comparing;

/// <summary>What an end of a connection costs while nothing goes over it. Each contender has a process of its own, so that none finds memory that another left.</summary>
internal static class IdleComparison
{
    private const string CommandName = "idle-end";
    private const int WarmUpConnections = 20;

    /// <param name="context">How to run it.</param>
    /// <param name="time">How long the connections are left idle. Each process makes and closes others for twice that before, and for up to eight times as long while code is compiled.</param>
    /// <param name="connections">How many connections each has.</param>
    /// <param name="contenders">Ours, and then the others.</param>
    public static async Task<Findings> RunAsync(RunContext context, TimeSpan time, int connections, IReadOnlyList<IMultiplexer> contenders)
    {
        Table table = new("idle", "An end of an idle connection", "contender", "connections", "KiB_per_end", "managed_KiB_per_end", "native_KiB_per_end");
        foreach (IMultiplexer contender in contenders)
        {
            Footprint growth = await MeasureElsewhereAsync(contender.Name, time, connections, context.CancellationToken);
            double ends = 2.0 * connections * 1024;
            table.Add(contender.Name, connections, growth.Resident / ends, growth.Managed / ends, growth.Native / ends);
            context.Report($"idle: {contender.Name} {Readable.Number(growth.Resident / ends)} KiB an end");
        }

        double ours = (double)table.Rows[0][2]!;
        return new Findings(
            [
                .. table.Rows.Skip(1).Select(row => Verdict.AtMost(
                    $"An idle end takes no more memory than one of {row[0]} ({Readable.Number((double)row[2]!)} KiB)", ours, (double)row[2]!, "KiB")),
            ],
            [table],
            [
                new Figure("idle", $"Resident memory of the process for each end of {Readable.Number(connections)} idle connections.", () =>
                {
                    Plot plot = Chart.Create("Memory of an idle end", "", "KiB");
                    plot.Bars([.. table.Rows.Select((row, i) => ((string)row[0]!, (double)row[2]!, Chart.Palette[i]))]);
                    return plot.ToPng();
                }),
            ]);
    }

    /// <summary>The command that another process of this program runs.</summary>
    public static Command CreateCommand(CommandHost host, IReadOnlyList<IMultiplexer> contenders)
    {
        Argument<string> name = new("contender");
        Argument<int> milliseconds = new("milliseconds");
        Argument<int> connections = new("connections");
        Command command = new(CommandName, "What 'compare' measures in a process of its own.") { Hidden = true };
        command.Arguments.Add(name);
        command.Arguments.Add(milliseconds);
        command.Arguments.Add(connections);
        command.SetAction(async (arguments, cancellationToken) =>
        {
            IMultiplexer contender = contenders.Single(contender => contender.Name == arguments.GetValue(name));
            Footprint growth = await MeasureAsync(contender, TimeSpan.FromMilliseconds(arguments.GetValue(milliseconds)), arguments.GetValue(connections), cancellationToken);
            await host.Output.WriteLineAsync(JsonSerializer.Serialize(growth));
            return ExitCode.Success;
        });
        return command;
    }

    private static async Task<Footprint> MeasureElsewhereAsync(string name, TimeSpan time, int connections, CancellationToken cancellationToken)
    {
        using Process process = OwnProcess.Start(readsError: true, CommandName, name, $"{(int)time.TotalMilliseconds}", $"{connections}");
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync(cancellationToken);
            string output = await process.StandardOutput.ReadToEndAsync(cancellationToken);
            await process.WaitForExitAsync(cancellationToken);
            return process.ExitCode == ExitCode.Success
                ? JsonSerializer.Deserialize<Footprint>(output)
                : throw new ExperimentException($"The process that measures {name} ended with exit code {process.ExitCode}. {(await error).Trim()}");
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }
        }
    }

    private static async Task<Footprint> MeasureAsync(IMultiplexer contender, TimeSpan time, int connections, CancellationToken cancellationToken)
    {
        await Compilation.WarmUpAsync(
            async () =>
            {
                await using IIdleConnections warmUp = await contender.PrepareIdleAsync(WarmUpConnections, cancellationToken);
                await warmUp.ConnectAsync(cancellationToken);
            },
            2 * time,
            8 * time);
        await using IIdleConnections idle = await contender.PrepareIdleAsync(connections, cancellationToken);
        Footprint before = Footprint.Take();
        await idle.ConnectAsync(cancellationToken);
        await Task.Delay(time, cancellationToken);
        return Footprint.Take() - before;
    }
}
