using Pipeline.Cli;

using TerminationSignals signals = new();
using CommandHost host = CommandHost.ForConsole();
return signals.ExitCode(await CommandLine.RunAsync(args, host, signals.Token));
