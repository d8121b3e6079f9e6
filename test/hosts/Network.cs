using System.Globalization;

namespace Pipeline.Hosts;

/// <summary>
/// The lines between the hosts: a pair of veth devices each, all of which end at one router, the network namespace that this program runs in.
/// Each host is in a /16 of its own, as hosts of the internet are, so that address books see eight groups.
/// </summary>
internal sealed class Network
{
    /// <summary>How much later a packet arrives, each way, while the lines are bad.</summary>
    public static readonly TimeSpan Delay = TimeSpan.FromMilliseconds(100);

    /// <summary>How many packets of a hundred are lost, each way, while the lines are bad.</summary>
    public const int LossPercent = 1;

    // The two halves, each with the hosts whose second number is in it.
    private const string Left = "11.0.0.0/9";
    private const string Right = "11.128.0.0/9";

    private const string SlowLineTable = "100";

    private readonly List<Host> _hosts = [];
    private SlowLine? _slowLine;

    /// <summary>What makes the lines bad, once they were.</summary>
    public string SlowedBy => _slowLine is null ? "netem" : "a TUN device, because this kernel has no netem";

    /// <summary>Makes a router of this namespace.</summary>
    public static async Task<Network> CreateAsync()
    {
        await Shell.IpAsync("link set lo up");
        await File.WriteAllTextAsync("/proc/sys/net/ipv4/ip_forward", "1");
        await ExpectPacketsFromAnywhereAsync("all");
        await ExpectPacketsFromAnywhereAsync("default");
        return new Network();
    }

    /// <summary>Connects a host.</summary>
    public async Task AddAsync(Host host)
    {
        string name = host.Name;
        await Shell.IpAsync($"netns add {name}");
        await Shell.IpAsync($"link add {name} type veth peer name eth0 netns {name}");
        await Shell.IpAsync($"addr add {host.Gateway}/16 dev {name}");
        await Shell.IpAsync($"link set {name} up");
        await ExpectPacketsFromAnywhereAsync(name);
        await Shell.IpAsync($"-n {name} link set lo up");
        await Shell.IpAsync($"-n {name} addr add {host.Address}/16 dev eth0");
        await Shell.IpAsync($"-n {name} link set eth0 up");
        await Shell.IpAsync($"-n {name} route add default via {host.Gateway}");
        _hosts.Add(host);
    }

    /// <summary>Drops what goes from one half of the hosts to the other, without a word to whoever sent it.</summary>
    public static async Task PartitionAsync()
    {
        await Shell.IpAsync($"rule add pref 10 from {Left} to {Right} blackhole");
        await Shell.IpAsync($"rule add pref 10 from {Right} to {Left} blackhole");
    }

    /// <summary>Ends the partition.</summary>
    public static async Task HealAsync()
    {
        await Shell.IpAsync($"rule del pref 10 from {Left} to {Right}");
        await Shell.IpAsync($"rule del pref 10 from {Right} to {Left}");
    }

    /// <summary>Cuts the line of a host.</summary>
    public static Task CutAsync(Host host) => Shell.IpAsync($"link set {host.Name} down");

    /// <summary>Mends the line of a host.</summary>
    public static Task MendAsync(Host host) => Shell.IpAsync($"link set {host.Name} up");

    /// <summary>Makes every line bad, see <see cref="Delay"/> and <see cref="LossPercent"/>.</summary>
    public async Task SlowDownAsync()
    {
        foreach (Host host in _hosts)
        {
            if (_slowLine is null && await Shell.TryAsync("tc", $"qdisc add dev {host.Name} root netem delay {Delay.TotalMilliseconds}ms loss {LossPercent}%") is { } problem)
            {
                if (host != _hosts[0])
                {
                    throw new ExpectationException($"The line of {host.Name} cannot be slowed: {problem}");
                }

                _slowLine = SlowLine.Open("slow", Delay, LossPercent);
                await ExpectPacketsFromAnywhereAsync("slow");
                await Shell.IpAsync("link set slow up");
                await Shell.IpAsync($"route add default dev slow table {SlowLineTable}");
            }

            if (_slowLine is not null)
            {
                await Shell.IpAsync($"rule add pref 20 iif {host.Name} lookup {SlowLineTable}");
            }
        }
    }

    /// <summary>How long it takes to connect from one host to the node of another, which is one round trip; the shortest of three, as a packet may be lost.</summary>
    public static async Task<TimeSpan> MeasureRoundTripAsync(Host from, Host to)
    {
        const string script = "for i in 1 2 3; do a=$EPOCHREALTIME; exec 3<>/dev/tcp/$0/26656 || exit; b=$EPOCHREALTIME; exec 3<&-; echo $(( ${b/./} - ${a/./} )); done";
        string output = await Shell.ReadAsync("nsenter", $"--net=/run/netns/{from.Name}", "env", "LC_ALL=C", "bash", "-c", script, to.Address);
        return TimeSpan.FromMicroseconds(output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Min(line => long.Parse(line, CultureInfo.InvariantCulture)));
    }

    /// <summary>Makes every line good again.</summary>
    public async Task SpeedUpAsync()
    {
        foreach (Host host in _hosts)
        {
            string? problem = await (_slowLine is null
                ? Shell.TryAsync("tc", $"qdisc del dev {host.Name} root")
                : Shell.TryAsync("ip", $"rule del pref 20 iif {host.Name}"));
            if (problem is not null)
            {
                throw new ExpectationException($"The line of {host.Name} cannot be mended: {problem}");
            }
        }
    }

    // Packets come back from the slow line, which is not where an answer to them would go.
    private static Task ExpectPacketsFromAnywhereAsync(string device) => File.WriteAllTextAsync($"/proc/sys/net/ipv4/conf/{device}/rp_filter", "0");
}
