using System.Buffers.Binary;
using System.CommandLine;
using System.Diagnostics;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast transactions go through nodes with the mempool relay, and how many of them go in vain.</summary>
internal sealed record MempoolExperiment : Experiment
{
    private const int DefaultRuns = 3;
    private const int NodeCount = 4;
    private const double MaxDuplicates = 5;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromMinutes(2);

    // Nothing comes for so long: then nothing is on the wire any more that the receiver could have already.
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(200);

    /// <summary>How many transactions are submitted in each run.</summary>
    public int Transactions { get; init; } = 100_000;

    /// <summary>The bytes of each.</summary>
    public int Size { get; init; } = 250;

    public override string Name => "mempool";

    public override string Title => "Mempool relay";

    public override string Description =>
        $"{Readable.Number(Transactions)} transactions of {Size} bytes go through {NodeCount} nodes with the mempool relay and its default limits: in a line all are submitted at one end, in a full"
        + " mesh a part at each node; 'flood' is the mesh without announcements, as nodes of the reference do it. Measured is how long it takes until each node has seen each transaction, how often"
        + " each was seen, and, when nothing comes any more, how many of the transactions on the wire the receiver had already. A first run of each that is not counted warms up.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> transactions = OptionOf.Count("--transactions", "N", "How many transactions are submitted.", 100_000, 4, 10_000_000);
        Option<int> size = OptionOf.Count("--size", "BYTES", "The size of each.", 250, 4, 1 << 20);
        return commands.Create(
            "mempool",
            "Transactions through four nodes; rate and duplicates.",
            $"How long each run may take. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [transactions, size],
            arguments => new MempoolExperiment { Transactions = arguments.GetValue(transactions), Size = arguments.GetValue(size) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        Table table = new("mempool", "Each run", "topology", "run", "txs_s", "seen_once", "of", "duplicates_%", "missed", "seconds");
        List<Run> done = [];
        foreach (Topology topology in Enum.GetValues<Topology>())
        {
            await MeasureAsync(context, topology);
            for (int run = 1; run <= runs; run++)
            {
                Run result = await MeasureAsync(context, topology);
                done.Add(result);
                table.Add(topology.ToString().ToLowerInvariant(), run, result.Rate, result.SeenOnce, (long)NodeCount * Transactions, result.DuplicatePercent, result.Missed, result.Seconds);
                context.Report(
                    $"{topology}, run {run} of {runs}: {Readable.Number(result.Rate)} transactions/s, {Readable.Number(result.DuplicatePercent)} % duplicates");
            }
        }

        double Median(Topology topology, Func<Run, double> select) => Statistics.Median(done.Where(run => run.Topology == topology).Select(select));
        Run[] announced = [.. done.Where(run => run.Topology != Topology.Flood)];
        long expected = (long)NodeCount * Transactions * announced.Length;
        long seen = announced.Sum(run => run.SeenOnce);
        double duplicates = Median(Topology.Mesh, run => run.DuplicatePercent);
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["transactions"] = Transactions,
                ["size"] = Size,
                ["nodes"] = NodeCount,
                ["line_txs_s"] = Median(Topology.Line, run => run.Rate),
                ["mesh_txs_s"] = Median(Topology.Mesh, run => run.Rate),
                ["flood_txs_s"] = Median(Topology.Flood, run => run.Rate),
                ["mesh_duplicates_%"] = duplicates,
                ["flood_duplicates_%"] = Median(Topology.Flood, run => run.DuplicatePercent),
                ["runs"] = runs,
            },
            Verdicts =
            [
                new Verdict("Each node of the line and the mesh sees each transaction exactly once", $"{Readable.Number(seen)} of {Readable.Number(expected)}", seen == expected),
                Verdict.AtMost($"At most {MaxDuplicates} % of the transactions on the wire of the mesh are duplicates", duplicates, MaxDuplicates, "%"),
            ],
            Tables = [table],
        };
    }

    private static IEnumerable<(int, int)> LinksOf(Topology topology) => topology == Topology.Line
        ? [(0, 1), (1, 2), (2, 3)]
        : [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];

    private async Task<Run> MeasureAsync(RunContext context, Topology topology)
    {
        int[][] seen = [.. Enumerable.Range(0, NodeCount).Select(_ => new int[Transactions])];
        long left = (long)NodeCount * Transactions;
        TaskCompletionSource all = new(TaskCreationOptions.RunContinuationsAsynchronously);
        MempoolRelayReactor[] relays = [.. seen.Select(own => new MempoolRelayReactor(new MempoolRelayOptions
        {
            Announce = topology != Topology.Flood,
            Check = (transaction, _) =>
            {
                int number = BinaryPrimitives.ReadInt32LittleEndian(transaction.Data.Span);
                if (Interlocked.Increment(ref own[number]) == 1 && Interlocked.Decrement(ref left) == 0)
                {
                    all.SetResult();
                }

                return ValueTask.FromResult(MempoolVerdict.Accept);
            },
        }))];
        List<Node> nodes = [];
        try
        {
            foreach (MempoolRelayReactor relay in relays)
            {
                nodes.Add(await Node.StartAsync(context.CancellationToken, relay));
            }

            foreach ((int a, int b) in LinksOf(topology))
            {
                await nodes[a].ConnectAsync(nodes[b], context.CancellationToken);
            }

            GC.Collect();
            int sources = topology == Topology.Line ? 1 : NodeCount;
            long start = Stopwatch.GetTimestamp();
            Task submitting = Task.WhenAll(Enumerable.Range(0, sources).Select(source => Task.Run(
                () => SubmitAsync(context, relays[source], source, sources),
                context.CancellationToken)));
            try
            {
                await submitting;
                await all.Task.WaitAsync(context.Duration ?? DefaultDuration, context.CancellationToken);
            }
            catch (TimeoutException)
            {
                // What was not seen is in the result.
            }

            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            MempoolRelayStatus[] statuses = await WhenQuietAsync(relays, context.CancellationToken);
            long duplicates = statuses.Sum(status => status.Duplicates);
            return new Run(
                topology,
                Transactions / seconds,
                seen.Sum(own => own.LongCount(count => count == 1)),
                100.0 * duplicates / Math.Max(1, statuses.Sum(status => status.Received) - Transactions),
                statuses.Sum(status => status.Missed),
                seconds);
        }
        finally
        {
            foreach (Node node in nodes)
            {
                await node.DisposeAsync();
            }
        }
    }

    private static async Task<MempoolRelayStatus[]> WhenQuietAsync(MempoolRelayReactor[] relays, CancellationToken cancellationToken)
    {
        long received = -1;
        while (true)
        {
            MempoolRelayStatus[] statuses = [.. relays.Select(relay => relay.Status)];
            long now = statuses.Sum(status => status.Received);
            if (now == received)
            {
                return statuses;
            }

            received = now;
            await Task.Delay(Quiet, cancellationToken);
        }
    }

    private async Task SubmitAsync(RunContext context, MempoolRelayReactor relay, int first, int step)
    {
        byte[] transaction = context.CreatePayload(Size);
        for (int i = first; i < Transactions; i += step)
        {
            BinaryPrimitives.WriteInt32LittleEndian(transaction, i);
            SubmitResult result = await relay.SubmitAsync(transaction, context.CancellationToken);
            if (result != SubmitResult.Accepted)
            {
                throw new ExperimentException($"Transaction {i} was not accepted: {result}.");
            }
        }
    }

    private enum Topology
    {
        Line,
        Mesh,
        Flood,
    }

    private sealed record Run(Topology Topology, double Rate, long SeenOnce, double DuplicatePercent, long Missed, double Seconds);
}
