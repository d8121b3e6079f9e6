using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Protocols.Tests;

public sealed class StandardChannelsTests
{
    [TestCase(0x00, "pex", 1, 10, 64_000)]
    [TestCase(0x20, "consensus state", 6, 100, 1_048_576)]
    [TestCase(0x21, "consensus data", 10, 100, 1_048_576)]
    [TestCase(0x22, "consensus vote", 7, 100, 1_048_576)]
    [TestCase(0x23, "consensus vote set bits", 1, 2, 1_048_576)]
    [TestCase(0x30, "mempool", 5, 1, 1_048_584)]
    [TestCase(0x38, "evidence", 6, 1, 1_048_576)]
    [TestCase(0x40, "block sync", 5, 1_000, 104_857_605)]
    [TestCase(0x60, "state sync snapshots", 5, 10, 4_000_000)]
    [TestCase(0x61, "state sync chunks", 3, 10, 16_000_000)]
    public void A_channel_is_as_the_reference_has_it(byte id, string name, int priority, int sendQueue, int capacity)
    {
        ChannelDescriptor channel = StandardChannels.All.Single(channel => channel.Id == id);

        Assert.Multiple(() =>
        {
            Assert.That(channel.Name, Is.EqualTo(name));
            Assert.That(channel.Priority, Is.EqualTo(priority));
            Assert.That(channel.SendQueueCapacity, Is.EqualTo(sendQueue));
            Assert.That(channel.MaxMessageSize, Is.EqualTo(capacity));
        });
    }

    [Test]
    public void There_are_ten_channels_in_the_order_of_their_ids() =>
        Assert.That(
            StandardChannels.All.Select(channel => channel.Id),
            Is.EqualTo(new byte[] { 0x00, 0x20, 0x21, 0x22, 0x23, 0x30, 0x38, 0x40, 0x60, 0x61 }));

    [Test]
    public void The_largest_mempool_message_is_one_transaction_of_the_largest_size()
    {
        Message message = new() { Txs = new Txs { Txs_ = { ByteString.CopyFrom(new byte[1_048_576]) } } };

        Assert.That(StandardChannels.Mempool.MaxMessageSize, Is.EqualTo(message.CalculateSize()));
    }
}
