namespace Pipeline.Cli.Tests;

[TestFixture]
public sealed class BoundedLinesTests
{
    private static readonly string Line = new('x', 10_000);

    [Test, CancelAfter(30_000)]
    public async Task Lines_that_find_no_room_are_not_even_made_and_the_output_is_told_how_many(CancellationToken cancellationToken)
    {
        using StuckWriter output = new();
        BoundedLines lines = new(skipped => (output, $"{skipped} skipped"));
        int made = 0;
        Task writing = Task.Run(lines.WriteAllAsync, cancellationToken);
        bool[] taken = [.. Enumerable.Range(0, 1_000).Select(i => lines.TryAdd(output, i, Make))];

        Assert.That(made, Is.EqualTo(taken.Count(wasTaken => wasTaken)).And.InRange(400, 425));
        Assert.That(lines.Skipped, Is.EqualTo(1_000 - made));
        Assert.That(lines.Waiting, Is.LessThan(BoundedLines.MaxWaiting + 11_000));
        output.Release();
        lines.Complete();
        await writing.WaitAsync(cancellationToken);

        string[] written = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(written.Where(line => line != $"{lines.Skipped} skipped"), Is.EqualTo(Enumerable.Range(0, made).Select(i => i + Line)));
        Assert.That(written, Has.One.EqualTo($"{lines.Skipped} skipped"));
        Assert.That(lines.Waiting, Is.Zero);
        Assert.That(lines.TryAdd(output, 1, Make), Is.False, "after the end");

        string Make(int i)
        {
            made++;
            return i + Line;
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task Lines_of_several_threads_are_written_or_skipped_and_none_is_lost(CancellationToken cancellationToken)
    {
        using StringWriter output = new();
        BoundedLines lines = new(skipped => (output, $"skipped {skipped}"));
        Task writing = Task.Run(lines.WriteAllAsync, cancellationToken);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(thread => Task.Run(
            () =>
            {
                for (int i = 0; i < 2_000; i++)
                {
                    lines.TryAdd(output, i, n => $"{thread} {n} {Line}");
                }
            },
            cancellationToken)));
        lines.Complete();
        await writing.WaitAsync(cancellationToken);

        string[] written = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string[] skipped = [.. written.Where(line => line.StartsWith("skipped", StringComparison.Ordinal))];
        Assert.That(written.Length - skipped.Length + lines.Skipped, Is.EqualTo(8_000));
        Assert.That(skipped.Sum(line => long.Parse(line["skipped ".Length..], System.Globalization.CultureInfo.InvariantCulture)), Is.EqualTo(lines.Skipped));
        for (int thread = 0; thread < 4; thread++)
        {
            Assert.That(written.Where(line => line.StartsWith($"{thread} ", StringComparison.Ordinal)).Select(Number), Is.Ordered);
        }

        static int Number(string line) => int.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
    }
}
