using System.Globalization;
using Pipeline.Hosts;

// What the script beside this has checked already.
TimeSpan partition = TimeSpan.FromSeconds(8);
string? logs = null;
for (int i = 0; i + 1 < args.Length; i += 2)
{
    _ = args[i] == "--logs" ? logs = args[i + 1] : (object)(partition = TimeSpan.FromSeconds(double.Parse(args[i + 1], CultureInfo.InvariantCulture)));
}

const int LastLines = 15;
Report report = new();
Scenario scenario = new(report);
string? failure = null;
try
{
    await scenario.RunAsync(partition);
}
catch (Exception e)
{
    // Also of a mistake in this program the logs tell most.
    failure = e is ExpectationException ? e.Message : e.ToString();
    report.Say("FAILED, " + failure);
    foreach (Host host in scenario.Hosts)
    {
        Console.WriteLine($"The last that {host.Name} logged:");
        foreach (string line in host.Log().TakeLast(LastLines))
        {
            Console.WriteLine("    " + line);
        }
    }
}

if (logs is not null)
{
    foreach (Host host in scenario.Hosts)
    {
        await File.WriteAllLinesAsync(Path.Combine(logs, host.Name + ".log"), host.Log());
    }
}

report.SumUp(failure);
return failure is null ? 0 : 1;
