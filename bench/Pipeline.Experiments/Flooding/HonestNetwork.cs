using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Flooding;

/// <summary>A node with a few peers that exchange messages with it all the time, and nodes that want to become peers while something is measured.</summary>
internal sealed class HonestNetwork : IAsyncDisposable
{
    public const int Peers = 2;
    public const int SmallSize = 200;
    public const int BulkSize = 16 << 10;

    public static readonly TimeSpan TrafficInterval = TimeSpan.FromMilliseconds(5);

    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(20);

    // The kernel goes through all sockets of the machine for it.
    private static readonly TimeSpan CensusInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan NewcomerInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan NewcomerRetry = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // Shorter than the default, so that the last connections of a flood need not be waited for so long.
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(1);

    private readonly RunContext _context;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly ChannelDescriptor _small = new(0x20, "small") { Priority = 10, SendQueueCapacity = 1000 };
    private readonly ChannelDescriptor _bulk = new(0x30, "bulk") { SendQueueCapacity = 100 };

    // Of each peer what it sends, and what the node sends to it.
    private readonly Arrivals _smallArrivals = new(2 * Peers);
    private readonly Arrivals _bulkArrivals = new(Peers);
    private readonly List<Ticker> _smallTickers = [];
    private readonly List<Ticker> _bulkTickers = [];
    private readonly List<Node> _nodes = [];
    private readonly CancellationTokenSource _stop;
    private Task _traffic = Task.CompletedTask;
    private long _refused;
    private LatencyRecorder? _recorder;

    private HonestNetwork(RunContext context)
    {
        _context = context;
        _stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
    }

    /// <summary>Where the node listens.</summary>
    public int Port => Hub.Switch.ListenAddress.Port;

    private Node Hub => _nodes[0];

    private double Now => Stopwatch.GetElapsedTime(_start).TotalSeconds;

    private long BytesReceived => _bulkArrivals.Bytes + _smallArrivals.Bytes;

    /// <summary>Starts the nodes and their traffic.</summary>
    public static async Task<HonestNetwork> StartAsync(RunContext context)
    {
        HonestNetwork network = new(context);
        try
        {
            await network.ConnectAsync();
            return network;
        }
        catch
        {
            await network.DisposeAsync();
            throw;
        }
    }

    /// <summary>Measures while something happens. Newcomers come one after the other.</summary>
    /// <param name="name">What happens.</param>
    /// <param name="atMost">How long it may take.</param>
    /// <param name="happening">Ends when it is over; it gives what an attacker saw, if there was one.</param>
    public async Task<Phase> MeasureAsync(string name, TimeSpan atMost, Func<Task<FloodOutcome?>> happening)
    {
        LatencyRecorder recorder = new((int)(_smallTickers.Count * (atMost + Patience) / TrafficInterval));
        List<Sample> samples = [];
        List<(double, SocketCensus)> censuses = [];
        List<double> newcomers = [];
        int refused = 0;
        using CancellationTokenSource over = CancellationTokenSource.CreateLinkedTokenSource(_context.CancellationToken);
        ImmutableSortedDictionary<string, long> refusalsBefore = Hub.Switch.GetStatus().InboundRefusals;
        long overflows = CountOverflows();
        long bytes = BytesReceived;
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        double from = Now;
        Volatile.Write(ref _recorder, recorder);
        Task sampling = Pacing.EveryAsync(SampleInterval, Timeout.InfiniteTimeSpan, Look, over.Token);
        Task coming = ComeAsync();
        Thread counting = new(CountSockets) { IsBackground = true };
        counting.Start();
        FloodOutcome? outcome = await happening().WaitAsync(atMost, _context.CancellationToken);
        Volatile.Write(ref _recorder, null);
        double seconds = Now - from;
        double throughput = (BytesReceived - bytes) / seconds / 1e6;
        double used = (Environment.CpuUsage.TotalTime - processor).TotalSeconds / seconds * 100;
        await over.CancelAsync();
        await sampling.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await coming;
        counting.Join();
        Phase phase = new(
            name,
            from,
            seconds,
            outcome,
            recorder.Take(),
            throughput,
            used,
            samples,
            censuses,
            [.. newcomers.Order()],
            refused,
            CountOverflows() - overflows,
            [
                .. Hub.Switch.GetStatus().InboundRefusals
                    .Select(entry => (entry.Key, entry.Value - refusalsBefore.GetValueOrDefault(entry.Key)))
                    .Where(entry => entry.Item2 > 0),
            ]);
        _context.Report(
            $"{name}: p50 {Readable.Number(phase.Latencies.P50)} ms, p99 {Readable.Number(phase.Latencies.P99)} ms, {Readable.Number(throughput)} MB/s,"
            + $" {newcomers.Count} newcomers, the slowest in {Readable.Number(phase.SlowestNewcomer)} ms");
        return phase;

        void Look()
        {
            samples.Add(new Sample(Now, GC.GetTotalMemory(forceFullCollection: false) / (double)(1 << 20), Environment.WorkingSet / (double)(1 << 20)));
        }

        // A thread of its own, because what the kernel takes for it must not be taken from those that deal with messages.
        void CountSockets()
        {
            do
            {
                censuses.Add((Now, SocketCensus.Take(Port)));
            }
            while (!over.Token.WaitHandle.WaitOne(CensusInterval));
        }

        // One that has begun is waited for, however long it takes.
        async Task ComeAsync()
        {
            while (!over.IsCancellationRequested)
            {
                await using Node newcomer = await Node.StartAsync(_context.CancellationToken, MakeReactor());
                long start = Stopwatch.GetTimestamp();
                while (true)
                {
                    try
                    {
                        await newcomer.ConnectAsync(Hub, _context.CancellationToken);
                        newcomers.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                        break;
                    }
                    catch (Exception e) when (e is IOException or TimeoutException)
                    {
                        refused++;
                        if (Stopwatch.GetElapsedTime(start) > Patience)
                        {
                            newcomers.Add(double.PositiveInfinity);
                            break;
                        }

                        await Task.Delay(NewcomerRetry, _context.CancellationToken);
                    }
                }

                await Task.Delay(NewcomerInterval, over.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    /// <summary>Ends the traffic, and says how many messages were sent, have arrived, and were not in order.</summary>
    public async Task<(long Sent, long Received, long OutOfOrder)> StopTrafficAsync()
    {
        await _stop.CancelAsync();
        await _traffic.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        long sent = _smallTickers.Concat(_bulkTickers).Sum(ticker => ticker.Sent);
        await Pacing.UntilAsync(() => Received() >= sent, Patience, _context.CancellationToken);
        return (sent + _refused, Received(), _smallArrivals.OutOfOrder + _bulkArrivals.OutOfOrder);

        long Received() => _smallArrivals.Messages + _bulkArrivals.Messages;
    }

    /// <summary>What sockets are left when those that come and go have gone.</summary>
    public async Task<SocketCensus> CountSocketsAtTheEndAsync()
    {
        SocketCensus census = default;
        await Pacing.UntilAsync(() => (census = SocketCensus.Take(Port)) is { Open: <= Peers, Waiting: 0, CloseWait: 0 }, HandshakeTimeout * 3, _context.CancellationToken);
        return census;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _traffic.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.WhenAll(_nodes.Select(node => node.DisposeAsync().AsTask()));
        _stop.Dispose();
    }

    private static long CountOverflows()
    {
        string[] lines = [.. File.ReadLines("/proc/net/netstat").Where(line => line.StartsWith("TcpExt:", StringComparison.Ordinal))];
        int column = Array.IndexOf(lines[0].Split(' '), "ListenOverflows");
        return long.Parse(lines[1].Split(' ')[column], CultureInfo.InvariantCulture);
    }

    private async Task ConnectAsync()
    {
        _nodes.Add(await Node.StartAsync(options => options with { HandshakeTimeout = HandshakeTimeout }, _context.CancellationToken, MakeReactor()));
        for (int i = 0; i < Peers; i++)
        {
            _nodes.Add(await Node.StartAsync(_context.CancellationToken, MakeReactor()));
            (IPeer near, IPeer far) = await _nodes[^1].ConnectAsync(Hub, _context.CancellationToken);
            _smallTickers.Add(new Ticker(near, _small, _context.CreatePayload(SmallSize), 2 * i));
            _smallTickers.Add(new Ticker(far, _small, _context.CreatePayload(SmallSize), (2 * i) + 1));
            _bulkTickers.Add(new Ticker(near, _bulk, _context.CreatePayload(BulkSize), i));
        }

        _traffic = Task.Run(() => Pacing.EveryAsync(
            TrafficInterval,
            Timeout.InfiniteTimeSpan,
            () =>
            {
                foreach (Ticker ticker in _smallTickers.Concat(_bulkTickers))
                {
                    ticker.Send();
                    _refused += ticker.TakeRefused();
                }
            },
            _stop.Token));
    }

    private HandlerReactor MakeReactor() => new("traffic", [_small, _bulk], envelope =>
    {
        if (envelope.Channel == _bulk)
        {
            _bulkArrivals.Count(envelope.Data.Span);
            return;
        }

        Stamp stamp = _smallArrivals.Count(envelope.Data.Span);
        Volatile.Read(ref _recorder)?.Record(stamp.Timestamp);
    });
}

/// <summary>What was measured while something happened.</summary>
/// <param name="Name">What happened.</param>
/// <param name="From">When it began, in seconds.</param>
/// <param name="Seconds">How long it took, until the last connection of a flood was closed.</param>
/// <param name="Outcome">What the attacker saw; null when there was none.</param>
/// <param name="Latencies">The small messages, in both directions.</param>
/// <param name="Throughput">Honest messages that arrived, in MB/s.</param>
/// <param name="Processor">What the process used, in percent of one core.</param>
/// <param name="Samples">Memory over the time; never empty.</param>
/// <param name="Censuses">Sockets over the time; never empty.</param>
/// <param name="Newcomers">How long each new node took to become a peer, all its tries together, in milliseconds, shortest first; infinite for one that never did.</param>
/// <param name="NewcomersRefused">Tries of new nodes that failed.</param>
/// <param name="Overflows">Connections that the kernel dropped because too many waited to be accepted, anywhere on the machine.</param>
/// <param name="Refusals">How many connections the node refused, for each reason.</param>
internal sealed record Phase(
    string Name,
    double From,
    double Seconds,
    FloodOutcome? Outcome,
    Latencies Latencies,
    double Throughput,
    double Processor,
    IReadOnlyList<Sample> Samples,
    IReadOnlyList<(double Seconds, SocketCensus Sockets)> Censuses,
    double[] Newcomers,
    int NewcomersRefused,
    long Overflows,
    IReadOnlyList<(string Reason, long Count)> Refusals)
{
    public double MaxManaged => Samples.Max(sample => sample.Managed);

    public double MaxResident => Samples.Max(sample => sample.Resident);

    public double NewcomerMedian => Statistics.Median(Newcomers);

    public double SlowestNewcomer => Newcomers.Length == 0 ? double.NaN : Newcomers[^1];

    /// <summary>The most sockets of a kind that were seen.</summary>
    public int Most(Func<SocketCensus, int> kind) => Censuses.Max(census => kind(census.Sockets));
}

/// <summary>Memory at one moment, in MiB.</summary>
internal readonly record struct Sample(double Seconds, double Managed, double Resident);
