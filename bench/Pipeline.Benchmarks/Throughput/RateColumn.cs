using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace Pipeline.Benchmarks.Throughput;

/// <summary>Says what a run of <see cref="ThroughputBenchmarks"/> means for a message.</summary>
/// <param name="name">The header of the column.</param>
/// <param name="legend">What it says.</param>
/// <param name="calculate">Makes the figure of the size of a message, how many there were, and the report.</param>
internal sealed class RateColumn(string name, string legend, Func<int, int, BenchmarkReport, string?> calculate) : IColumn
{
    public string Id => $"{nameof(RateColumn)}.{name}";

    public string ColumnName => name;

    public string Legend => legend;

    public bool AlwaysShow => true;

    public bool IsNumeric => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public UnitType UnitType => UnitType.Dimensionless;

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase) => GetValue(summary, benchmarkCase, SummaryStyle.Default);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style)
    {
        if (benchmarkCase.Descriptor.Type != typeof(ThroughputBenchmarks))
        {
            return "-";
        }

        int size = (int)benchmarkCase.Parameters[nameof(ThroughputBenchmarks.Size)];
        return summary[benchmarkCase] is { ResultStatistics: not null } report
            ? calculate(size, ThroughputBenchmarks.MessagesOf(size), report) ?? "?"
            : "?";
    }
}

/// <summary>Adds the columns, of medians.</summary>
internal sealed class RateConfig : ManualConfig
{
    public RateConfig() => AddColumn(
        new RateColumn("msgs/s", "Messages in a second", static (_, messages, report) => PerSecond(messages, report).ToString("N0")),
        new RateColumn("MB/s", "Megabytes (10^6) of messages in a second", static (size, messages, report) =>
            (PerSecond(messages, report) * size / 1e6).ToString("N0")),
        new RateColumn("B/msg", "Allocated managed memory for each message, both ends together", static (_, messages, report) =>
            report.GcStats.GetBytesAllocatedPerOperation(report.BenchmarkCase) is { } bytes ? ((double)bytes / messages).ToString("N0") : null));

    private static double PerSecond(int messages, BenchmarkReport report) => messages * 1e9 / report.ResultStatistics!.Median;
}
