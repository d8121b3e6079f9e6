using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Tests.Dataflow;

/// <summary>
/// What a message costs the garbage collector, from a send on one node to the reactor of another over a real socket: all allocations of the process
/// are counted, so nothing else may run. A figure that grows is a regression, however fast the machine is.
/// </summary>
[NonParallelizable]
public sealed class AllocationTests
{
    private static readonly ChannelDescriptor Channel = new(0x30, "bulk") { SendQueueCapacity = 1000, ReceiveQueueCapacity = 1000 };

    // The least of some runs counts: what the runtime does beside, as compiling a method again, is not the message's.
    [TestCase(64, 100_000, 8, TestName = "64_bytes")]
    [TestCase(1024, 20_000, 32, TestName = "1_KiB")]
    [TestCase(65_536, 500, 4096, TestName = "64_KiB")]
    [CancelAfter(60_000)]
    public async Task A_message_allocates_next_to_nothing(int size, int messages, int mostBytes, CancellationToken cancellationToken)
    {
        using NodeKey nearKey = NodeKey.Create();
        using NodeKey farKey = NodeKey.Create();
        CountingReactor reactor = new();
        await using Switch near = CreateSwitch(nearKey, new CountingReactor());
        await using Switch far = CreateSwitch(farKey, reactor);
        await near.StartAsync(cancellationToken);
        await far.StartAsync(cancellationToken);
        IPeer peer = await near.DialAsync(far.ListenAddress, cancellationToken);
        byte[] message = new byte[size];
        double least = double.MaxValue;
        for (int run = 0; run < 8; run++)
        {
            Task all = reactor.Expect(messages);
            long before = GC.GetTotalAllocatedBytes(precise: true);
            for (int i = 0; i < messages; i++)
            {
                SendResult result = peer.TrySend(Channel, message);
                result = result == SendResult.QueueFull ? await peer.SendAsync(Channel, message, Timeout.InfiniteTimeSpan, cancellationToken) : result;
                if (result != SendResult.Queued)
                {
                    Assert.Fail($"Message {i} was not sent: {result}.");
                }
            }

            await all.WaitAsync(cancellationToken);
            least = Math.Min(least, (GC.GetTotalAllocatedBytes(precise: true) - before) / (double)messages);
        }

        TestContext.Out.WriteLine($"{least:0.##} bytes for each message of {size}");
        Assert.That(least, Is.LessThanOrEqualTo(mostBytes));
    }

    private static Switch CreateSwitch(NodeKey key, Reactor reactor)
    {
        Switch node = new(key, new SwitchOptions
        {
            Network = "allocations",
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            Connection = new ConnectionOptions { SendRate = null, ReceiveRate = null },
        });
        node.AddReactor(reactor);
        return node;
    }

    private sealed class CountingReactor() : Reactor("counting", Channel)
    {
        private TaskCompletionSource _all = new();
        private int _missing;

        public Task Expect(int messages)
        {
            _all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Volatile.Write(ref _missing, messages);
            return _all.Task;
        }

        protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
        {
            if (--_missing == 0)
            {
                _all.SetResult();
            }

            return ValueTask.CompletedTask;
        }
    }
}
