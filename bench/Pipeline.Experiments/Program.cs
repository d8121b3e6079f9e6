using Pipeline.Experiments;

using CommandHost host = CommandHost.ForConsole();
return await CommandLine.RunAsync(args, host, CancellationToken.None);
