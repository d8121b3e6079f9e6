using System.Diagnostics;
using System.Globalization;

namespace Pipeline.Experiments.Measuring;

/// <summary>Memory of this process once all that nobody refers to any more is gone.</summary>
/// <param name="Resident">Bytes of the machine's memory that the process takes.</param>
/// <param name="Managed">Bytes of the objects on the collected heap, which are among them.</param>
internal readonly record struct Footprint(long Resident, long Managed)
{
    private const string LinuxSummary = "/proc/self/smaps_rollup";

    /// <summary>Bytes of everything else: the runtime, what libraries such as OpenSSL allocate, stacks, and room on the collected heap that no object takes.</summary>
    public long Native => Resident - Managed;

    public static Footprint operator -(Footprint after, Footprint before) => new(after.Resident - before.Resident, after.Managed - before.Managed);

    public static Footprint Take()
    {
        // Twice, for what only a finalizer lets go of; aggressively, so that the heap keeps no room for what may come.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        return new Footprint(ReadResident(), GC.GetTotalMemory(forceFullCollection: false));
    }

    // Linux counts the working set a processor at a time and tells it with an error of megabytes; only its summary is exact.
    private static long ReadResident()
    {
        string? line = File.Exists(LinuxSummary) ? File.ReadLines(LinuxSummary).FirstOrDefault(line => line.StartsWith("Rss:", StringComparison.Ordinal)) : null;
        if (line?.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries) is [_, string kibibytes, "kB"])
        {
            return long.Parse(kibibytes, CultureInfo.InvariantCulture) << 10;
        }

        using Process process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
