using System.Security.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.StateSync;
using Pipeline.Samples.FileCopy;
using Pipeline.Transport;

namespace Pipeline.Samples.Tests;

[CancelAfter(60_000)]
public sealed class FileCopyTests
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pipeline-copy-").FullName;

    [OneTimeTearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task A_file_comes_from_those_who_share_it_and_is_the_same(CancellationToken cancellationToken)
    {
        string path = Write("original", 5_000_001);
        string copy = Path.Combine(_folder, "copy");
        using RunningSample a = new();
        using RunningSample b = new();
        using RunningSample c = new();
        SharedFiles first = await StartAsync(a, "a");
        SharedFiles second = await StartAsync(b, "b");
        string hash = await first.ShareAsync(path);
        Assert.That(await second.ShareAsync(path), Is.EqualTo(hash));
        SharedFiles third = await StartAsync(c, "c", a, b);

        (long bytes, int peers) = await third.GetAsync(hash, copy, cancellationToken);

        Assert.That(bytes, Is.EqualTo(5_000_001));
        Assert.That(peers, Is.InRange(1, 2));
        Assert.That(SHA256.HashData(File.ReadAllBytes(copy)), Is.EqualTo(SHA256.HashData(File.ReadAllBytes(path))));
        Assert.That(copy + ".part", Does.Not.Exist);
    }

    [Test]
    public async Task A_file_that_was_changed_after_it_was_shared_does_not_come(CancellationToken cancellationToken)
    {
        string path = Write("changed", 3_000_000);
        using RunningSample a = new();
        using RunningSample b = new();
        string hash = await (await StartAsync(a, "a")).ShareAsync(path);
        byte[] bytes = File.ReadAllBytes(path);
        bytes[2_500_000] ^= 1;
        File.WriteAllBytes(path, bytes);
        SharedFiles second = await StartAsync(b, "b");
        IPeer sender = await second.Reactor.Switch.DialAsync(NetAddress.Parse(a.Address), cancellationToken);
        using CancellationTokenSource limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<(long, int)> getting = second.GetAsync(hash, Path.Combine(_folder, "never"), limit.Token);

        // The sender of what is wrong is stopped.
        DisconnectReason reason = await sender.Completion.WaitAsync(cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        await limit.CancelAsync();
        Assert.That(async () => await getting, Throws.InstanceOf<OperationCanceledException>().Or.InstanceOf<StateSyncException>());
        Assert.That(Path.Combine(_folder, "never"), Does.Not.Exist);
    }

    [Test]
    public void An_empty_file_and_one_that_is_not_there_are_refused()
    {
        SharedFiles files = new();
        Assert.That(async () => await files.ShareAsync(Write("empty", 0)), Throws.InstanceOf<IOException>().With.Message.Contains("1 byte"));
        Assert.That(async () => await files.ShareAsync(Path.Combine(_folder, "missing")), Throws.InstanceOf<FileNotFoundException>());
    }

    private static async Task<SharedFiles> StartAsync(RunningSample sample, string name, params RunningSample[] others)
    {
        SharedFiles files = new();
        await sample.StartAsync(name, files.Reactor, _ => Task.CompletedTask, null, others);
        return files;
    }

    private string Write(string name, int length)
    {
        byte[] bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
