using Pipeline.Samples.Chat;

namespace Pipeline.Samples.Tests;

public sealed class ChatTests
{
    [Test]
    public async Task What_one_says_the_others_hear_with_its_name()
    {
        using RunningSample ann = new();
        using RunningSample bob = new();
        using RunningSample cid = new();
        await StartAsync(ann, "ann");
        await StartAsync(bob, "bob", ann);
        await StartAsync(cid, "cid", ann, bob);
        foreach (RunningSample sample in new[] { ann, bob, cid })
        {
            await sample.NextLineAsync(line => line.EndsWith("is here", StringComparison.Ordinal));
            await sample.NextLineAsync(line => line.EndsWith("is here", StringComparison.Ordinal));
        }

        ann.Type("hello");
        Assert.That(await bob.NextLineAsync(IsTalk), Is.EqualTo("ann: hello"));
        Assert.That(await cid.NextLineAsync(IsTalk), Is.EqualTo("ann: hello"));
        bob.Type("control \u001b[31m characters");
        Assert.That(await ann.NextLineAsync(IsTalk), Is.EqualTo("bob: control [31m characters"));

        cid.Type("bye");
        cid.EndInput();
        Assert.That(await cid.Completion, Is.Zero);
        Assert.That(await ann.NextLineAsync(IsTalk), Is.EqualTo("cid: bye"), "what was said before the end is heard");
        Assert.That(await ann.NextLineAsync(line => line.StartsWith('*')), Does.StartWith("* cid has left."));
    }

    [TestCase("--listen", "nowhere")]
    [TestCase("--connect", "nobody")]
    [TestCase("--name")]
    [TestCase("--shout", "loud")]
    public async Task A_wrong_option_is_explained(params string[] args)
    {
        using RunningSample.ShownLines output = new();
        ChatReactor chat = new(output);
        int exit = await SampleNode.RunAsync(args, TextReader.Null, output, [chat], chat.SayAsync, onEnd: null, CancellationToken.None);
        Assert.That(exit, Is.EqualTo(1));
        Assert.That(await output.NextAsync(), Does.StartWith($"Not understood: {string.Join(' ', args)}").And.Contain("--connect ID@HOST:PORT"));
    }

    private static bool IsTalk(string line) => !line.StartsWith('*');

    private static Task StartAsync(RunningSample sample, string name, params IEnumerable<RunningSample> others)
    {
        ChatReactor chat = new(sample.Output);
        return sample.StartAsync(name, chat, chat.SayAsync, onEnd: null, others);
    }
}
