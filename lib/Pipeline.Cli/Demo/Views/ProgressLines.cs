namespace Pipeline.Cli.Demo.Views;

/// <summary>A line a second, for outputs that are not a screen.</summary>
internal sealed class ProgressLines(TextWriter output, TimeProvider time) : IDemoView
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public async Task<DemoSummary> ShowAsync(Func<DemoSnapshot> read, Func<Task<DemoSummary>> start)
    {
        RateWindow<DemoSnapshot> rates = new(static snapshot => snapshot.Elapsed);
        rates.Add(read());
        Task<DemoSummary> run = start();
        using PeriodicTimer timer = new(Period, time);
        while (await Task.WhenAny(timer.WaitForNextTickAsync().AsTask(), run) != run)
        {
            DemoSnapshot now = read();
            rates.Add(now);
            (double messages, double bytes) = rates.Of(static snapshot => snapshot.Total.Traffic);
            Figures total = now.Total;
            await output.WriteLineAsync(
                $"{Readable.Seconds(now.Elapsed),8}  {Readable.Count(total.Counts.Received)} of {Readable.Count(total.Expected)} messages, "
                + $"{Readable.Bytes(total.Counts.Bytes)}; {Readable.Count(messages)} messages/s, {Readable.Bytes(bytes)}/s; "
                + $"waiting {total.SendQueue.Messages} + {total.Inbox.Messages}; "
                + $"p50 {Readable.Milliseconds(total.P50)} ms, p99 {Readable.Milliseconds(total.P99)} ms");
        }

        return await run;
    }
}
