using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Protocols;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Tests.BlockSync;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Message = Pipeline.Protocols.BlockSync.Message;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast blocks are synced, beside how fast they could be checked or sent.</summary>
internal sealed record BlockSyncExperiment : Experiment
{
    private const int DefaultRuns = 3;
    private const int DefaultBlocks = 1000;
    private const int TransactionSize = 400;
    private const double LeastShare = 0.8;

    // As many as a sync asks one peer for.
    private static readonly BlockSyncOptions Options = new() { MaxAnswersPerSecond = 1_000_000 };

    public int Blocks { get; init; } = DefaultBlocks;

    public int Size { get; init; } = 100 << 10;

    public int Validators { get; init; } = 4;

    public override string Name => "blocksync";

    public override string Title => "Block sync";

    public override string Description =>
        $"A node syncs {Blocks} blocks of {Readable.Bytes(Size)}, signed by {Validators} validators, from another over one connection, both in this process and both with their stores in memory. Beside it:"
        + " checking alone (the same blocks from memory: parsed, hashed, signatures verified, on all processors) and sending alone (the same answers to the same number of open requests,"
        + " received and thrown away). The three are run in turns; the figures are medians of the runs. Where there are few processors, checking and sending share them in a sync:"
        + " 'one after the other' is what is left then if nothing ever waits.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> blocks = OptionOf.Count("--blocks", "N", "How many blocks.", DefaultBlocks, 3, 100_000);
        Option<int> size = OptionOf.Size("--size", "The bytes of a block's transactions.", 100 << 10, TransactionSize);
        Option<int> validators = OptionOf.Count("--validators", "N", "How many validators sign each block.", 4, 1, 1000);
        return commands.Create(
            "blocksync",
            "Blocks synced a second, beside checking alone and sending alone.",
            "Has no meaning here. [default: until all blocks are there]",
            DefaultRuns,
            [blocks, size, validators],
            arguments => new BlockSyncExperiment { Blocks = arguments.GetValue(blocks), Size = arguments.GetValue(size), Validators = arguments.GetValue(validators) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        context.Report($"making {Blocks} blocks");
        using SignedChain chain = new(Blocks, Validators, Math.Max(1, Size / TransactionSize), TransactionSize, "experiments");
        MemoryBlockStore store = await chain.FillAsync(new MemoryBlockStore());
        Table byRun = new("runs", "Each run", "run", "what", "blocks_s", "MB_s", "cpu_%");
        Dictionary<string, List<double>> rates = [];
        bool isWhole = true;
        double megabytes = chain.Blocks.Average(block => (double)block.Block.Length) / 1e6;
        for (int run = 0; run <= runs; run++)
        {
            foreach ((string what, Func<Task<int>> carry) in ((string, Func<Task<int>>)[])[
                ("checking", () => Task.Run(() => Check(chain))),
                ("sending", () => SendAsync(context, store)),
                ("sync", () => SyncAsync(context, chain, store))])
            {
                TimeSpan cpu = Environment.CpuUsage.TotalTime;
                long start = Stopwatch.GetTimestamp();
                int count = await carry();
                double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                double load = 100 * (Environment.CpuUsage.TotalTime - cpu).TotalSeconds / seconds / Environment.ProcessorCount;
                isWhole &= count >= Blocks - 1;
                context.Report($"{(run == 0 ? "warm-up" : $"run {run} of {runs}")}, {what}: {Readable.Number(count / seconds)} blocks/s, {Readable.Number(load)} % of the processors");

                // The first run is a warm-up: code is compiled and pools are filled.
                if (run > 0)
                {
                    byRun.Add(run, what, count / seconds, count * megabytes / seconds, load);
                    (rates.TryGetValue(what, out List<double>? list) ? list : rates[what] = []).Add(count / seconds);
                }
            }
        }

        (double checking, double sending, double sync) = (Statistics.Median(rates["checking"]), Statistics.Median(rates["sending"]), Statistics.Median(rates["sync"]));
        double afterwards = 1 / ((1 / checking) + (1 / sending));
        double share = 100 * sync / Math.Min(checking, sending);
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["blocks"] = Blocks,
                ["size"] = Size,
                ["validators"] = Validators,
                ["checking_blocks_s"] = checking,
                ["sending_blocks_s"] = sending,
                ["one_after_the_other_blocks_s"] = afterwards,
                ["sync_blocks_s"] = sync,
                ["sync_MB_s"] = sync * megabytes,
                ["share_%"] = share,
                ["runs"] = runs,
            },
            Verdicts =
            [
                new Verdict("Every block arrives, but the highest.", isWhole ? "all" : "not all", isWhole),
                Verdict.AtLeast($"A sync reaches {100 * LeastShare:0} % of checking alone or sending alone, whichever is less.", share, 100 * LeastShare, "%"),
            ],
            Tables = [byRun],
        };
    }

    // A window at a time, as a sync does: all blocks at once would measure the garbage collector.
    private static int Check(SignedChain chain)
    {
        const int Window = 128;
        BlockVerifier verifier = new(chain.ChainId, [chain.Validators]);
        int good = 0;
        for (int from = 0; from < chain.Blocks.Count - 1; from += Window)
        {
            // One more, which proves the last and is the first of the next window.
            CheckedBlock?[] blocks = new CheckedBlock?[Math.Min(Window + 1, chain.Blocks.Count - from)];
            Parallel.For(0, blocks.Length, i => blocks[i] = CheckedBlock.TryCheck(Block.Parser.ParseFrom(chain.Blocks[from + i].Block.Span), out _));
            Parallel.For(0, blocks.Length - 1, i =>
            {
                if (blocks[i + 1]!.Block.Header.LastBlockId.Equals(blocks[i]!.Id) && verifier.FindCommitFault(blocks[i]!, blocks[i + 1]!) is null)
                {
                    Interlocked.Increment(ref good);
                }
            });
        }

        return good;
    }

    private async Task<int> SendAsync(RunContext context, MemoryBlockStore store)
    {
        TaskCompletionSource all = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int asked = 0;
        int received = 0;
        await using Node far = await Node.StartAsync(context.CancellationToken, new BlockSyncReactor(Options, store));
        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("receiver", [StandardChannels.BlockSync], envelope =>
        {
            // What is not an answer with a block is short.
            if (envelope.Data.Length > 100 && ++received == Blocks)
            {
                all.SetResult();
            }
            else if (envelope.Data.Length > 100)
            {
                Ask(envelope.Peer);
            }
        }));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        for (int i = 0; i < Options.MaxAskedOfPeer; i++)
        {
            Ask(peer);
        }

        await all.Task.WaitAsync(context.CancellationToken);
        return received;

        void Ask(IPeer peer)
        {
            int height = Interlocked.Increment(ref asked);
            if (height <= Blocks)
            {
                peer.TrySend(StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } });
            }
        }
    }

    private static async Task<int> SyncAsync(RunContext context, SignedChain chain, MemoryBlockStore store)
    {
        BlockSyncReactor reactor = new(Options);
        await using Node far = await Node.StartAsync(context.CancellationToken, new BlockSyncReactor(Options, store));
        await using Node near = await Node.StartAsync(context.CancellationToken, reactor);
        await near.ConnectAsync(far, context.CancellationToken);
        MemoryBlockStore synced = new();
        await reactor.SyncToAsync(synced, new BlockSyncRequest(chain.ChainId, [chain.Validators]), context.CancellationToken);
        return (int)synced.Range.Height;
    }
}
