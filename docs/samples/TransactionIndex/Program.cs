using Pipeline.Protocols.BlockSync;
using Pipeline.Samples;
using Pipeline.Samples.TransactionIndex;

// dotnet run -- genesis.json --connect ID@HOST:PORT     where a node of the network, or "pipeline serve", listens. Then each line is a transaction's hash.
if (args is not [string genesis, .. string[] rest] || !File.Exists(genesis))
{
    Console.WriteLine("The first argument is the path of the network's genesis.json.");
    return 1;
}

TrustedValidators validators;
string? chainId;
try
{
    using FileStream file = File.OpenRead(genesis);
    validators = TrustedValidators.Parse(file, out chainId);
}
catch (Exception e) when (e is IOException or FormatException or UnauthorizedAccessException)
{
    Console.WriteLine($"{genesis}: {e.Message}");
    return 1;
}

using CancellationTokenSource end = new();
TransactionIndex index = new(chainId ?? "", validators, Console.Out);
Task building = index.BuildAsync(end.Token);
int exitCode = await SampleNode.RunAsync([.. rest, "--network", chainId ?? ""], [index.Reactor], index.FindAsync);
await end.CancelAsync();
await building;
return exitCode;
