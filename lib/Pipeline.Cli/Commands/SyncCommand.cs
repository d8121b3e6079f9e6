using System.Collections.Immutable;
using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Listening;
using Pipeline.Cli.Syncing;
using Pipeline.Cli.Tap;
using Pipeline.Dataflow;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Sqlite;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline sync</c>: the blocks of a network, verified, in a file.</summary>
internal static class SyncCommand
{
    public static Command Create(CommandHost host, CommonOptions common)
    {
        Option<string[]> peers = new("--peers")
        {
            HelpName = "ID@HOST:PORT",
            Description = "The nodes to get blocks from, separated by commas or said more than once.",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        Option<string> store = new("--store")
        {
            HelpName = "FILE",
            Description = "The file that the blocks are kept in; made when it is not there. When it has blocks, the sync goes on after them.",
            Required = true,
        };
        Option<string?> network = new("--network")
        {
            HelpName = "ID",
            Description = "The network (chain id). [default: what the genesis file says, else the first peer that answers]",
            CustomParser = DialCommand.ParseNetwork,
        };
        Option<string?> genesis = new("--genesis")
        {
            HelpName = "FILE",
            Description = "The network's genesis.json, whose validators are trusted for the first block.",
        };
        Option<string[]> validators = new("--validators")
        {
            HelpName = "FILE",
            Description = "Validators as a node's RPC answers to 'validators': the first set is trusted for the first block unless there is a --genesis; more are used when the chain gets to them.",
        };
        Option<long> from = HeightOption("--from", "The first block, when the store has none yet. [default: 1]");
        Option<long> to = HeightOption("--to", "The last block; a peer has to have the one after it, too. [default: all that the peers have, but for the highest]");
        Option<TimeSpan> timeout = new("--timeout")
        {
            HelpName = "DURATION",
            Description = "How long no block may come before the sync fails, such as 500ms, 3s or 1m30s. [default: 1m]",
            CustomParser = Duration.ParseOption,
        };

        Command command = new("sync", "Get the blocks of a network from its nodes, verify each, and keep them in a file. It goes on where it ended before.")
        {
            peers, store, network, genesis, validators, from, to, timeout,
        };
        command.Validators.Add(result =>
        {
            string? error = result.GetValue(genesis) is null && result.GetValue(validators) is not { Length: > 0 }
                ? "Blocks cannot be verified without validators. Expected is --genesis FILE or --validators FILE."
                : null;
            string[] texts = [.. Split(result.GetValue(peers))];
            _ = DialCommand.ParseAddresses(texts, command, common, out string? fault);
            error ??= texts.Length == 0 ? "--peers names no node. Expected is at least one ID@HOST:PORT." : fault;
            error ??= result.GetValue(store) is { } path ? OutputFile.FindFault("--store", path) : null;
            if (error is not null)
            {
                result.AddError(error);
            }
        });
        command.SetAction(async (arguments, cancellationToken) =>
        {
            using ILoggerFactory loggers = common.CreateLoggerFactory(host, arguments);
            ImmutableArray<NetAddress> addresses = [.. Split(arguments.GetValue(peers)).Select(NetAddress.Parse).DistinctBy(static address => address.Id)];
            return await Guarded.RunAsync(host, async () =>
            {
                string? said = arguments.GetValue(network);
                List<TrustedValidators> sets = [];
                foreach (string path in ((string?[])[arguments.GetValue(genesis)]).OfType<string>().Concat(arguments.GetValue(validators) ?? []))
                {
                    sets.Add(ReadValidators(path, out string? chainId));
                    if (said is not null && chainId is not null && chainId != said)
                    {
                        throw new FormatException($"--network is '{said}', but '{path}' is of the network '{chainId}'.");
                    }

                    said ??= chainId;
                }

                // A new store is made once a peer of that network is there: a mistaken name would stay in it.
                string file = arguments.GetRequiredValue(store);
                using SqliteBlockStore? known = new FileInfo(file) is { Exists: true, Length: > 0 } ? SqliteBlockStore.Open(file, said) : null;
                StoredBlock? last = known is null || known.Range.IsEmpty ? null : await known.LoadAsync(known.Range.Height, cancellationToken);
                long first = last is null ? 1 : last.Height + 1;
                if (arguments.GetResult(from) is not null && last is not null && arguments.GetValue(from) != first)
                {
                    throw new FormatException($"The store '{file}' has blocks {known!.Range.Base} to {known.Range.Height}, so the next is {first}, not --from {arguments.GetValue(from)}.");
                }

                said ??= known?.ChainId;
                NodeInfo? learned = said is null ? await DialCommand.LearnAsync(addresses, loggers.CreateLogger(nameof(SyncCommand)), cancellationToken) : null;
                SyncView view = new(host, arguments.GetValue(common.Json), TimeProvider.System);
                BlockSyncRequest request = new(said ?? learned!.Network, sets)
                {
                    Last = last,
                    From = arguments.GetResult(from) is null ? 1 : arguments.GetValue(from),
                    To = arguments.GetResult(to) is null ? null : arguments.GetValue(to),
                    Faulted = view.Tell,
                };
                BlockSyncReactor reactor = new(arguments.GetResult(timeout) is null ? new() : new() { StallTimeout = arguments.GetValue(timeout) });
                await using ListeningNode node = new(
                    request.ChainId,
                    learned?.ProtocolVersions ?? new(),
                    "pipeline-sync",
                    reactor,
                    TimeProvider.System,
                    loggers.CreateLogger<Switch>(),
                    new ConnectionOptions { ReceiveRate = null });
                await node.ConnectAsync(addresses, static () => { }, (address, failure) => view.Tell(address.Id, failure), cancellationToken);
                using SqliteBlockStore? made = known is null ? SqliteBlockStore.Open(file, request.ChainId) : null;
                return await SyncAsync(host, view, reactor, known ?? made!, request, cancellationToken);
            });
        });
        return command;
    }

    private static async Task<int> SyncAsync(
        CommandHost host,
        SyncView view,
        BlockSyncReactor reactor,
        SqliteBlockStore store,
        BlockSyncRequest request,
        CancellationToken cancellationToken)
    {
        long start = TimeProvider.System.GetTimestamp();
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task syncing = Task.Run(() => reactor.SyncToAsync(store, request, stop.Token), CancellationToken.None);
        try
        {
            await view.ShowAsync(syncing, () => reactor.Progress);
        }
        catch (IOException e)
        {
            throw new IOException(TapRun.DescribeBroken(e), e);
        }
        finally
        {
            // Whatever has ended the view, the store is used until the sync has ended.
            await stop.CancelAsync();
            await syncing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        (int exitCode, string end, string? failure) = await EndAsync(syncing, cancellationToken);
        await view.FinishAsync(store.Range, reactor.Progress.Verified, TimeProvider.System.GetElapsedTime(start), end);
        if (failure is not null)
        {
            await host.Error.WriteLineAsync(Printable.Of(failure));
        }

        return exitCode;
    }

    private static async Task<(int ExitCode, string End, string? Failure)> EndAsync(Task syncing, CancellationToken cancellationToken)
    {
        try
        {
            await syncing;
            return (ExitCode.Success, "done", null);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            return (ExitCode.Interrupted, "interrupted", null);
        }
        catch (Exception e) when (e is BlockSyncException or BlockStoreException)
        {
            return (ExitCode.Failure, "failed", e.Message);
        }
    }

    private static TrustedValidators ReadValidators(string path, out string? chainId)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            return TrustedValidators.Parse(file, out chainId);
        }
        catch (FormatException e)
        {
            throw new FormatException($"The validators in '{path}' cannot be used. {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FormatException($"The validators cannot be read. {e.Message}", e);
        }
    }

    private static IEnumerable<string> Split(string[]? texts) =>
        (texts ?? []).SelectMany(static text => text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));

    private static Option<long> HeightOption(string name, string description) => new(name)
    {
        HelpName = "HEIGHT",
        Description = description,
        CustomParser = result =>
        {
            if (long.TryParse(result.Tokens[0].Value, NumberStyles.None, CultureInfo.InvariantCulture, out long height) && height >= 1)
            {
                return height;
            }

            result.AddError($"{name} '{Printable.Of(result.Tokens[0].Value, 40)}' is not a height. Expected is a whole number from 1 on.");
            return default;
        },
    };
}
