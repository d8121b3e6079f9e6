using System.CommandLine;
using System.Text.Json.Nodes;
using Pipeline.Experiments.Experiments;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments;

/// <summary>Makes the commands that run experiments, with the options that all of them have.</summary>
internal sealed class ExperimentCommands(CommandHost host)
{
    private const string DefaultReportFolder = "out";

    private readonly Option<DirectoryInfo?> _out = new("--out")
    {
        HelpName = "DIR",
        Description = "Write the tables as CSV and the plots as PNG to this folder.",
    };

    private readonly Option<bool> _json = new("--json") { Description = "Print one JSON object, and nothing else." };
    private readonly Option<int> _seed = OptionOf.Count("--seed", "N", "What random contents and moments depend on.", 1, 0, int.MaxValue);

    /// <summary>A command for one experiment.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="description">What it shows, in a sentence.</param>
    /// <param name="duration">How long the experiment measures unless told otherwise, for people.</param>
    /// <param name="runs">How many runs its medians are of unless told otherwise; null when it has no medians.</param>
    /// <param name="options">Its own options.</param>
    /// <param name="create">Makes the experiment from its options.</param>
    public Command Create(string name, string description, string duration, int? runs, IEnumerable<Option> options, Func<ParseResult, Experiment> create)
    {
        Option<TimeSpan?> durationOption = OptionOf.Duration("--duration", duration);
        Option<int?>? runsOption = runs is null ? null : new("--runs")
        {
            HelpName = "N",
            Description = $"How many runs the medians are of, 1 to 100. [default: {runs}]",
        };
        runsOption?.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: string text }] && !(int.TryParse(text, out int count) && count is >= 1 and <= 100))
            {
                result.AddError($"--runs '{text}' is not a whole number from 1 to 100.");
            }
        });
        Command command = new(name, description);
        foreach (Option option in (IEnumerable<Option>)[.. options, durationOption, .. runsOption is null ? [] : new Option[] { runsOption }, _seed, _out, _json])
        {
            command.Options.Add(option);
        }

        command.SetAction((arguments, cancellationToken) => GuardAsync(async () =>
        {
            RunContext context = new(
                name,
                host.Error,
                arguments.GetValue(durationOption),
                runsOption is null ? null : arguments.GetValue(runsOption),
                arguments.GetValue(_seed),
                cancellationToken);
            ExperimentResult result = await create(arguments).RunAsync(context);
            if (arguments.GetValue(_out) is { } directory)
            {
                ReportWritten(ResultWriter.WriteFiles(directory, result));
            }

            if (arguments.GetValue(_json))
            {
                ResultWriter.WriteJson(host.Output, ResultWriter.ToJson(result));
            }
            else
            {
                ResultWriter.Print(host.CreateConsole(), result);
            }

            return result.Holds ? ExitCode.Success : ExitCode.Failure;
        }, cancellationToken));
        return command;
    }

    /// <summary>The command that runs all experiments.</summary>
    public Command CreateAll()
    {
        Option<TimeSpan?> durationOption = OptionOf.Duration("--duration", "How long each run of each experiment measures. [default: short times, about three minutes in all]");
        Command command = new("all", $"Run every experiment for a short time and write all of it to one report.html. Without --out that is in the folder '{DefaultReportFolder}'.")
        {
            durationOption, _seed, _out, _json,
        };
        command.SetAction((arguments, cancellationToken) => GuardAsync(async () =>
        {
            DirectoryInfo directory = arguments.GetValue(_out) ?? new DirectoryInfo(DefaultReportFolder);
            bool isJson = arguments.GetValue(_json);
            List<(Experiment Experiment, ExperimentResult Result)> results = [];
            foreach ((Experiment experiment, TimeSpan duration, int runs) in AllExperiments.Create())
            {
                RunContext context = new(
                    experiment.Name,
                    host.Error,
                    arguments.GetValue(durationOption) ?? duration,
                    runs,
                    arguments.GetValue(_seed),
                    cancellationToken);
                ExperimentResult result = await experiment.RunAsync(context);
                results.Add((experiment, result));
                ResultWriter.WriteFiles(directory, result);
                if (!isJson)
                {
                    ResultWriter.Print(host.CreateConsole(), result);
                }
            }

            string report = Path.Combine(directory.FullName, "report.html");
            await File.WriteAllTextAsync(report, HtmlReport.Create(results), cancellationToken);
            ReportWritten([report]);
            bool holds = results.TrueForAll(entry => entry.Result.Holds);
            if (isJson)
            {
                ResultWriter.WriteJson(host.Output, new JsonObject
                {
                    ["test"] = "all",
                    ["holds"] = holds,
                    ["report"] = report,
                    ["experiments"] = new JsonArray([.. results.Select(entry => ResultWriter.ToJson(entry.Result))]),
                });
            }

            return holds ? ExitCode.Success : ExitCode.Failure;
        }, cancellationToken));
        return command;
    }

    private void ReportWritten(IReadOnlyList<string> files)
    {
        foreach (string file in files)
        {
            host.Error.WriteLine($"Written: {file}");
        }
    }

    private async Task<int> GuardAsync(Func<Task<int>> run, CancellationToken cancellationToken)
    {
        try
        {
            return await run();
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await host.Error.WriteLineAsync("Interrupted; there is no result.");
            return ExitCode.Interrupted;
        }
        catch (Exception e) when (e is ExperimentException or IOException or UnauthorizedAccessException)
        {
            await host.Error.WriteLineAsync(e.Message);
            return ExitCode.Failure;
        }
    }
}
