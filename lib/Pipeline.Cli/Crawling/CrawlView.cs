using System.Globalization;
using Pipeline.Discovery.Crawling;
using Spectre.Console;

namespace Pipeline.Cli.Crawling;

/// <summary>Shows how far a crawl is, and the map that it has made.</summary>
/// <param name="host">Where it is shown.</param>
/// <param name="isJson">Whether the map is for programs.</param>
/// <param name="time">Where time comes from.</param>
internal sealed class CrawlView(CommandHost host, bool isJson, TimeProvider time)
{
    private const int MostNodes = 200;
    private const int MonikerLength = 24;
    private const int VersionLength = 16;
    private const int DetailLength = 120;
    private const int MostDetails = 6;

    // On a screen, and where there is none.
    private static readonly TimeSpan FramePeriod = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LinePeriod = TimeSpan.FromSeconds(5);

    private readonly Latest _latest = new();

    /// <summary>Shows a crawl while it goes on: on the screen, or as a line on the error now and then.</summary>
    public async Task<NetworkMap> ShowAsync(Func<IProgress<CrawlProgress>, Task<NetworkMap>> crawl)
    {
        if (host.Terminal is { } terminal && !isJson)
        {
            return await terminal.Live(Line()).AutoClear(true).StartAsync(context => FollowAsync(FramePeriod, () => context.UpdateTarget(Line())));
        }

        return await FollowAsync(LinePeriod, () => host.Error.WriteLine(Describe(_latest.Value)));

        async Task<NetworkMap> FollowAsync(TimeSpan period, Action show)
        {
            Task<NetworkMap> crawling = crawl(_latest);
            using PeriodicTimer timer = new(period, time);
            while (await Task.WhenAny(crawling, timer.WaitForNextTickAsync().AsTask()) != crawling)
            {
                show();
            }

            return await crawling;
        }

        Text Line() => new(Describe(_latest.Value));
    }

    /// <summary>Writes the map to the output.</summary>
    public async Task WriteAsync(NetworkMap map)
    {
        if (isJson)
        {
            await host.Output.WriteLineAsync(map.ToJson());
            return;
        }

        CrawledNode[] nodes = [.. map.Nodes.OrderBy(node => Rank(node.Reachability)).ThenBy(node => node.Id)];
        (string Id, string Moniker, string Version, string Address, string State, string Time, string Told)[] rows =
        [
            ("NODE", "MONIKER", "VERSION", "ADDRESS", "STATE", "MS", "TOLD"),
            .. nodes.Take(MostNodes).Select(node => (
                node.Id.ToString(),
                Printable.Of(node.Info?.Moniker ?? "", MonikerLength),
                Printable.Of(node.Info?.Version ?? "", VersionLength),
                node.Addresses.FirstOrDefault()?.DialString ?? "-",
                NameOf(node.Reachability),
                node.HandshakeTime is { } handshake ? Milliseconds(handshake + node.ConnectTime.GetValueOrDefault()) : "-",
                node.AddressesTold?.ToString(CultureInfo.InvariantCulture) ?? "-")),
        ];
        int moniker = rows.Max(row => row.Moniker.Length), version = rows.Max(row => row.Version.Length), address = rows.Max(row => row.Address.Length);
        int state = rows.Max(row => row.State.Length), told = rows.Max(row => row.Told.Length), ms = rows.Max(row => row.Time.Length);
        foreach (var row in rows)
        {
            await host.Output.WriteLineAsync(
                $"{row.Id,-40}  {row.Moniker.PadRight(moniker)}  {row.Version.PadRight(version)}  {row.Address.PadRight(address)}  {row.State.PadRight(state)}  {row.Time.PadLeft(ms)}  {row.Told.PadLeft(told)}");
        }

        if (nodes.Length > MostNodes)
        {
            await host.Output.WriteLineAsync($"… and {Readable.Count(nodes.Length - MostNodes)} more; --output writes all of them.");
        }

        await host.Output.WriteLineAsync();
        foreach (string line in Summary(map))
        {
            await host.Output.WriteLineAsync(line);
        }
    }

    private static IEnumerable<string> Summary(NetworkMap map)
    {
        string network = map.Network is null ? "an unknown network" : $"network {Printable.Of(map.Network)}";
        string end = map.End switch
        {
            CrawlEnd.Cancelled => ", interrupted",
            CrawlEnd.TimeLimit => ", ended by --max-time",
            _ => "",
        };
        yield return $"{Readable.Count(map.Nodes.Length)} {(map.Nodes.Length == 1 ? "node" : "nodes")} of {network} in {Readable.Seconds(map.Duration)}{end}: {Counted(map.Nodes, node => NameOf(node.Reachability))}.";
        CrawledNode[] reached = [.. map.Nodes.Where(node => node.Reachability == Reachability.Reached)];
        if (reached.Length > 0)
        {
            yield return $"Versions: {Counted(reached, node => Printable.Of(node.Info!.Version, VersionLength))}.";
        }

        if (map.Nodes.Select(node => node.Info?.Network).OfType<string>().Where(other => other != map.Network).ToArray() is { Length: > 0 } others)
        {
            yield return $"Other networks: {Counted(others, other => Printable.Of(other, 40))}.";
        }

        var failures = map.Nodes.Where(node => node.Detail is not null).CountBy(node => (node.Reachability, Detail: Printable.Of(node.Detail!, DetailLength)));
        foreach (((Reachability reachability, string detail), int count) in failures.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key.Detail, StringComparer.Ordinal).Take(MostDetails))
        {
            yield return $"{Readable.Count(count)} {NameOf(reachability)}: {detail}";
        }

        if (map.LeftOut > 0)
        {
            yield return $"Nodes were left out {Readable.Count(map.LeftOut)} times because of a limit on how many one node, or one network, may tell of.";
        }
    }

    private static string Counted<T>(IEnumerable<T> items, Func<T, string> name) =>
        string.Join(", ", items.CountBy(name).OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"{Readable.Count(pair.Value)} {pair.Key}"));

    private static string Describe(CrawlProgress progress) =>
        $"{Readable.Count(progress.Known)} known, {Readable.Count(progress.Visited)} visited, {Readable.Count(progress.Reached)} reached, {progress.Visiting} at once, {Readable.Seconds(progress.Elapsed)}";

    // What can be used comes first.
    private static int Rank(Reachability reachability) => reachability switch
    {
        Reachability.Reached => 0,
        Reachability.NotTried => 2,
        _ => 1,
    };

    private static string NameOf(Reachability reachability) => reachability switch
    {
        Reachability.NotTried => "not tried",
        Reachability.WrongIdentity => "wrong identity",
        Reachability.OtherNetwork => "other network",
        Reachability.TimedOut => "timed out",
        _ => reachability.ToString().ToLowerInvariant(),
    };

    private static string Milliseconds(TimeSpan time) => time.TotalMilliseconds.ToString("0.0", CultureInfo.InvariantCulture);

    /// <summary>Keeps the latest of what it is told, on whatever thread.</summary>
    private sealed class Latest : IProgress<CrawlProgress>
    {
        // Guarded by itself.
        private readonly Lock _gate = new();
        private CrawlProgress _value;

        public CrawlProgress Value
        {
            get
            {
                lock (_gate)
                {
                    return _value;
                }
            }
        }

        public void Report(CrawlProgress value)
        {
            lock (_gate)
            {
                _value = value;
            }
        }
    }
}
