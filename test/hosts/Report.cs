using System.Globalization;

namespace Pipeline.Hosts;

/// <summary>What is printed: a line for each thing that happens, with the time since the begin, and at the end all that was measured.</summary>
internal sealed class Report
{
    private readonly long _begin = TimeProvider.System.GetTimestamp();
    private readonly List<(string What, TimeSpan Took, TimeSpan Limit)> _measured = [];

    /// <summary>Says what happens now.</summary>
    public void Say(string text) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Elapsed.TotalSeconds,6:0.0} s  {text}"));

    /// <summary>Says that something is as expected, and after how long.</summary>
    public void Measured(string what, TimeSpan took, TimeSpan limit)
    {
        _measured.Add((what, took, limit));
        Say(string.Create(CultureInfo.InvariantCulture, $"ok: {what}, after {took.TotalSeconds:0.0} s of at most {limit.TotalSeconds:0}"));
    }

    /// <summary>Says all that was measured, and how it ended.</summary>
    public void SumUp(string? failure)
    {
        Console.WriteLine();
        foreach ((string what, TimeSpan took, TimeSpan limit) in _measured)
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{took.TotalSeconds,6:0.0} s of {limit.TotalSeconds,3:0}  {what}"));
        }

        string end = failure is null ? "all was as expected" : "FAILED, " + failure;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"hosts: {_measured.Count} checks passed in {Elapsed.TotalSeconds:0} s; {end}"));
    }

    private TimeSpan Elapsed => TimeProvider.System.GetElapsedTime(_begin);
}
