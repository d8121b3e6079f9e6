using System.Globalization;
using Pipeline.Samples.TransactionGossip;

namespace Pipeline.Samples.Tests;

public sealed class TransactionGossipTests
{
    private const int Count = 200;

    [Test]
    public async Task In_a_circle_of_nodes_each_gets_each_transaction_once()
    {
        using RunningSample a = new();
        using RunningSample b = new();
        using RunningSample c = new();
        using RunningSample d = new();
        await StartAsync(a, "a");
        await StartAsync(b, "b", a);
        await StartAsync(c, "c", a, b);
        await StartAsync(d, "d", c, a);
        for (int i = 0; i < Count; i++)
        {
            d.Type(i.ToString(CultureInfo.InvariantCulture));
            d.Type(i.ToString(CultureInfo.InvariantCulture));
        }

        // By the time that the last has come, all that came before it have, once each.
        foreach (RunningSample sample in new[] { d, c, b, a })
        {
            List<int> got = [];
            while (got.Count < Count)
            {
                string line = await sample.NextLineAsync(_ => true);
                got.Add(int.Parse(line.Split(' ')[0], CultureInfo.InvariantCulture));
            }

            Assert.That(got, Is.EquivalentTo(Enumerable.Range(0, Count)));
        }

        // The next that anybody gets is new: nothing came twice.
        a.Type("last");
        foreach (RunningSample sample in new[] { a, b, c, d })
        {
            Assert.That(await sample.NextLineAsync(_ => true), Does.StartWith("last "));
        }
    }

    [Test]
    public async Task What_was_submitted_before_the_end_is_spread()
    {
        using RunningSample a = new();
        using RunningSample b = new();
        await StartAsync(a, "a");
        await StartAsync(b, "b", a);
        for (int i = 0; i < Count; i++)
        {
            b.Type(i.ToString(CultureInfo.InvariantCulture));
        }

        b.EndInput();
        Assert.That(await b.Completion, Is.Zero);
        for (int i = 0; i < Count; i++)
        {
            Assert.That(await a.NextLineAsync(_ => true), Is.EqualTo($"{i} (b)"));
        }
    }

    [Test]
    public async Task Only_as_many_as_may_be_are_remembered()
    {
        using RunningSample node = new();
        await StartAsync(node, "a", remembered: 2);
        foreach (string text in new[] { "1", "2", "2", "3", "4", "5", "5", "6", "7", "1", "end" })
        {
            node.Type(text);
        }

        List<string> shown = [];
        while (shown.LastOrDefault() != "end")
        {
            shown.Add((await node.NextLineAsync(_ => true)).Split(' ')[0]);
        }

        Assert.That(shown, Is.EqualTo(new[] { "1", "2", "3", "4", "5", "6", "7", "1", "end" }));
    }

    private static Task StartAsync(RunningSample sample, string name, params IEnumerable<RunningSample> others) =>
        StartAsync(sample, name, remembered: 1000, others);

    private static Task StartAsync(RunningSample sample, string name, int remembered, params IEnumerable<RunningSample> others)
    {
        GossipPool pool = new(
            (text, from) => sample.Output.WriteLine($"{text} ({from ?? "own"})"),
            remembered);
        return sample.StartAsync(name, pool.Reactor, pool.SubmitAsync, pool.FlushAsync, others);
    }
}
