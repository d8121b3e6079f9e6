using System.Collections.Concurrent;
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
    private const int DefaultBlocks = 3000;
    private const int TransactionSize = 400;
    private const double LeastShare = 80;

    // The limit on answers a second is against peers that ask for ever, and would be what is measured on a fast machine.
    private static readonly BlockSyncOptions Options = new() { MaxAnswersPerSecond = 1_000_000 };

    public int Blocks { get; init; } = DefaultBlocks;

    public int Size { get; init; } = 100 << 10;

    public int Validators { get; init; } = 4;

    public override string Name => "blocksync";

    public override string Title => "Block sync";

    public override string Description =>
        $"A node syncs {Blocks} blocks of {Readable.Bytes(Size)}, signed by {Validators} validators, from another over one connection, both in this process and both with their stores in memory. Beside it:"
        + " checking alone (the same blocks from memory: parsed, hashed, signatures verified, on all processors) and sending alone (the same answers to the same number of open requests,"
        + " received and thrown away). The server's limit of answers a second is lifted. Nodes are started and connected before the time is taken. The three are run in turns; the figures are medians of the runs. A sync does both at once: what is possible then is what checking"
        + " or sending alone reaches, or what the processors have time for when they spend on each block what the two spend on it, whichever is least.";

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
        Table byRun = new("runs", "Each run", "run", "what", "blocks_s", "MB_s", "cpu_%", "gc_pauses_%");
        Dictionary<string, List<double>> rates = [];
        Dictionary<string, List<double>> processorTimes = [];
        bool isWhole = true;
        double megabytes = chain.Blocks.Average(block => (double)block.Block.Length) / 1e6;
        for (int run = 0; run <= runs; run++)
        {
            foreach ((string what, Func<Task<Run>> carry) in ((string, Func<Task<Run>>)[])[
                ("checking", () => Task.Run(() => Check(chain))),
                ("sending", () => SendAsync(context, store)),
                ("sync", () => SyncAsync(context, chain, store))])
            {
                Run it = await carry();
                isWhole &= it.Count >= Blocks - 1;
                double rate = it.Count / it.Seconds;
                double load = 100 * it.ProcessorSeconds / it.Seconds / Environment.ProcessorCount;
                context.Report($"{(run == 0 ? "warm-up" : $"run {run} of {runs}")}, {what}: {Readable.Number(rate)} blocks/s, {Readable.Number(load)} % of the processors");

                // The first run is a warm-up: code is compiled and pools are filled.
                if (run > 0)
                {
                    byRun.Add(run, what, rate, rate * megabytes, load, 100 * it.PauseSeconds / it.Seconds);
                    Note(rates, what, rate);
                    Note(processorTimes, what, it.ProcessorSeconds / it.Count);
                }
            }
        }

        (double checking, double sending, double sync) = (Statistics.Median(rates["checking"]), Statistics.Median(rates["sending"]), Statistics.Median(rates["sync"]));
        double least = Math.Min(checking, sending);
        double possible = Math.Min(least, Environment.ProcessorCount / (Statistics.Median(processorTimes["checking"]) + Statistics.Median(processorTimes["sending"])));
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["blocks"] = Blocks,
                ["size"] = Size,
                ["validators"] = Validators,
                ["checking_blocks_s"] = checking,
                ["sending_blocks_s"] = sending,
                ["possible_blocks_s"] = possible,
                ["sync_blocks_s"] = sync,
                ["sync_MB_s"] = sync * megabytes,
                ["share_of_possible_%"] = 100 * sync / possible,
                ["share_of_the_lesser_%"] = 100 * sync / least,
                ["runs"] = runs,
            },
            Verdicts =
            [
                new Verdict("Every block arrives, but the highest.", isWhole ? "all" : "not all", isWhole),
                Verdict.AtLeast(
                    $"A sync waits for nothing: it reaches {LeastShare} % of what is possible, {Readable.Number(possible)} blocks/s with {Environment.ProcessorCount} processors.",
                    100 * sync / possible,
                    LeastShare,
                    "%"),
            ],
            Tables = [byRun],
        };

        static void Note(Dictionary<string, List<double>> figures, string what, double figure) =>
            (figures.TryGetValue(what, out List<double>? list) ? list : figures[what] = []).Add(figure);
    }

    // In the order of their heights and with nothing to wait for: who finishes the second of two neighbours verifies the first, and what both neighbours are
    // done with is let go, as in a sync. All blocks kept at once would measure the garbage collector.
    private static Run Check(SignedChain chain)
    {
        Stretch stretch = Stretch.Start();
        BlockVerifier verifier = new(chain.ChainId, [chain.Validators]);
        CheckedBlock?[] blocks = new CheckedBlock?[chain.Blocks.Count];
        int[] checkedOfPair = new int[chain.Blocks.Count - 1];
        int[] doneWith = new int[chain.Blocks.Count];
        int good = 0;
        Parallel.ForEach(Partitioner.Create(Enumerable.Range(0, blocks.Length), EnumerablePartitionerOptions.NoBuffering), i =>
        {
            Volatile.Write(ref blocks[i], CheckedBlock.TryCheck(Block.Parser.ParseFrom(chain.Blocks[i].Block.Span), out _));
            VerifyWhenBothAreThere(i - 1);
            VerifyWhenBothAreThere(i);
        });
        return stretch.End(good);

        void VerifyWhenBothAreThere(int i)
        {
            if (i < 0 || i == checkedOfPair.Length || Interlocked.Increment(ref checkedOfPair[i]) < 2)
            {
                return;
            }

            if (blocks[i + 1]!.Block.Header.LastBlockId.Equals(blocks[i]!.Id) && verifier.FindCommitFault(blocks[i]!, blocks[i + 1]!) is null)
            {
                Interlocked.Increment(ref good);
            }

            LetGo(i);
            LetGo(i + 1);
        }

        void LetGo(int i)
        {
            if (Interlocked.Increment(ref doneWith[i]) == 2)
            {
                blocks[i] = null;
            }
        }
    }

    private async Task<Run> SendAsync(RunContext context, MemoryBlockStore store)
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
        Stretch stretch = Stretch.Start();
        for (int i = 0; i < Options.MaxAskedOfPeer; i++)
        {
            Ask(peer);
        }

        await all.Task.WaitAsync(context.CancellationToken);
        return stretch.End(received);

        void Ask(IPeer peer)
        {
            int height = Interlocked.Increment(ref asked);
            if (height <= Blocks)
            {
                peer.TrySend(StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } });
            }
        }
    }

    private static async Task<Run> SyncAsync(RunContext context, SignedChain chain, MemoryBlockStore store)
    {
        BlockSyncReactor reactor = new(Options);
        await using Node far = await Node.StartAsync(context.CancellationToken, new BlockSyncReactor(Options, store));
        await using Node near = await Node.StartAsync(context.CancellationToken, reactor);
        await near.ConnectAsync(far, context.CancellationToken);
        MemoryBlockStore synced = new();
        Stretch stretch = Stretch.Start();
        await reactor.SyncToAsync(synced, new BlockSyncRequest(chain.ChainId, [chain.Validators]), context.CancellationToken);
        return stretch.End((int)synced.Range.Height);
    }

    private readonly record struct Run(int Count, double Seconds, double ProcessorSeconds, double PauseSeconds);

    // What is measured, without what comes before and after it.
    private readonly record struct Stretch(long Started, TimeSpan ProcessorTime, TimeSpan Pauses)
    {
        public static Stretch Start() => new(Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime, GC.GetTotalPauseDuration());

        public Run End(int count) => new(
            count,
            Stopwatch.GetElapsedTime(Started).TotalSeconds,
            (Environment.CpuUsage.TotalTime - ProcessorTime).TotalSeconds,
            (GC.GetTotalPauseDuration() - Pauses).TotalSeconds);
    }
}
