using System.Globalization;
using System.Runtime.InteropServices;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Output;

/// <summary>What the figures were measured on, without which they mean little.</summary>
internal static class Machine
{
    public static IReadOnlyDictionary<string, object?> Describe() => new OrderedDictionary<string, object?>
    {
        ["processor"] = FindProcessor(),
        ["cores"] = Environment.ProcessorCount,
        ["memory"] = Readable.Bytes(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes),
        ["system"] = RuntimeInformation.OSDescription,
        ["runtime"] = RuntimeInformation.FrameworkDescription,
        ["collector"] = System.Runtime.GCSettings.IsServerGC ? "server" : "workstation",
        ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC",
    };

    private static string FindProcessor()
    {
        const string LinuxList = "/proc/cpuinfo";
        string? name = File.Exists(LinuxList)
            ? File.ReadLines(LinuxList).FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[^1].Trim()
            : Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER");
        return $"{name ?? "unknown"} ({RuntimeInformation.ProcessArchitecture})";
    }
}
