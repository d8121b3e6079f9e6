using CsCheck;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class MessageLogTests
{
    private static readonly ChannelDescriptor Channel = new(1, "c");

    // The sizes fill a block exactly, leave a little of it, or are empty; -1 takes a message and -2 drops everything.
    private static readonly Gen<int[]> Steps = Gen.OneOf(
        Gen.Int[0, MessageLog.MaxCopySize],
        Gen.OneOf(Gen.Const(0), Gen.Const(1), Gen.Const(MessageLog.MaxCopySize), Gen.Const(3000), Gen.Const(20_000)),
        Gen.Const(-1),
        Gen.Const(-1),
        Gen.Frequency((50, Gen.Const(-1)), (1, Gen.Const(-2)))).Array[0, 300];

    [Test]
    public void Messages_leave_in_order_and_whole_whatever_their_sizes_and_give_everything_back() =>
        Steps.Sample(
            steps =>
            {
                CountingPool pool = new();
                MessageLog log = new(pool);
                Queue<byte[]> expected = [];
                for (int i = 0; i < steps.Length; i++)
                {
                    if (steps[i] == -2)
                    {
                        log.Clear();
                        expected.Clear();
                    }
                    else if (steps[i] >= 0)
                    {
                        byte[] message = new byte[steps[i]];
                        Array.Fill(message, (byte)i);
                        expected.Enqueue(message);
                        if (message.Length <= MessageLog.MaxCopySize && i % 3 != 0)
                        {
                            log.Add(message);
                        }
                        else
                        {
                            log.Add(SerializedMessage.Create(Channel, message, pool));
                        }
                    }
                    else if (expected.TryDequeue(out byte[]? first))
                    {
                        bool isLookedAt = i % 2 == 0;
                        if (isLookedAt && !log.First.SequenceEqual(first))
                        {
                            return false;
                        }

                        if (log.RemoveFirst() != first.Length)
                        {
                            return false;
                        }
                    }

                    if (log.Count != expected.Count || (expected.Count == 0 && pool.Outstanding != 0))
                    {
                        return false;
                    }
                }

                while (expected.TryDequeue(out byte[]? first))
                {
                    if (!log.First.SequenceEqual(first) || log.RemoveFirst() != first.Length)
                    {
                        return false;
                    }
                }

                return log.Count == 0 && pool.Outstanding == 0;
            },
            iter: 2000);
}
