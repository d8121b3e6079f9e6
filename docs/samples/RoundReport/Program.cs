using Pipeline.Samples;
using Pipeline.Samples.RoundReport;

// dotnet run -- --network CHAIN-ID --connect ID@HOST:PORT     where a node of that network listens. Ends at the end of the input, or with Ctrl+C.
using CancellationTokenSource end = new();
RoundReport report = new(Console.Out);
Task writing = report.RunAsync(end.Token);
int exitCode = await SampleNode.RunAsync(args, report.Reactors, _ => Task.CompletedTask);
await end.CancelAsync();
await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
return exitCode;
