using Pipeline.Tests.Support;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Wire;

[CancelAfter(30_000)]
public sealed class DelimitedMessageTests
{
    [TestCase(0)]
    [TestCase(100)]
    [TestCase(127)]
    [TestCase(128)]
    [TestCase(40_000)]
    public async Task A_message_is_read_to_its_last_byte_and_no_further(int size, CancellationToken cancellationToken)
    {
        PexAddrs message = Message(size);
        byte[] bytes = DelimitedMessage.Encode(message);
        foreach (Func<int> splits in new[] { Splits.None, Splits.OneByte, Splits.Random(size) })
        {
            await using ReplayStream stream = new(new byte[][] { bytes, [0xaa] }.SelectMany(piece => piece).ToArray(), splits);

            PexAddrs read = await DelimitedMessage.ReadAsync(stream, PexAddrs.Parser, 50_000, "a list", cancellationToken);

            Assert.That(read, Is.EqualTo(message));
            Assert.That(stream.ReadByte(), Is.EqualTo(0xaa));
        }
    }

    [Test]
    public async Task A_message_of_the_largest_size_is_read_and_one_byte_more_refused_on_sight(CancellationToken cancellationToken)
    {
        PexAddrs message = Message(1000);
        int size = message.CalculateSize();
        await using ReplayStream whole = new(DelimitedMessage.Encode(message));
        await using ReplayStream lengthOnly = new(DelimitedMessage.Encode(message).AsMemory(0, 2)) { StaysSilent = true };

        Assert.That(await DelimitedMessage.ReadAsync(whole, PexAddrs.Parser, size, "a list", cancellationToken), Is.EqualTo(message));
        await RefusesAsync(lengthOnly, size - 1, DelimitedMessageFault.TooLong, $"A length of {size} bytes was announced for a list; the most is {size - 1}.", cancellationToken);
    }

    [TestCase("", DelimitedMessageFault.EndOfStream, "before a list")]
    [TestCase("80", DelimitedMessageFault.EndOfStream, "inside the length of a list")]
    [TestCase("050a", DelimitedMessageFault.EndOfStream, "after 1 of the 5 bytes")]
    [TestCase("80808080808080808080", DelimitedMessageFault.MalformedLength, "not a varint")]
    [TestCase("ffffffffffffffffff02", DelimitedMessageFault.MalformedLength, "not a varint")]
    [TestCase("ffffffffffffffffff01", DelimitedMessageFault.TooLong, "18446744073709551615 bytes was announced for a list; the most is 1000.")]
    [TestCase("020a05", DelimitedMessageFault.Malformed, "cannot be read as a list")]
    [TestCase("01ff", DelimitedMessageFault.Malformed, "cannot be read as a list")]
    public async Task Bytes_that_are_no_message_are_refused(string hex, DelimitedMessageFault fault, string reason, CancellationToken cancellationToken)
    {
        await using ReplayStream stream = new(Convert.FromHexString(hex));

        await RefusesAsync(stream, 1000, fault, reason, cancellationToken);
    }

    [Test]
    public async Task Waiting_for_a_message_can_be_cancelled(CancellationToken cancellationToken)
    {
        await using ReplayStream stream = new(new byte[] { 5, 10 }) { StaysSilent = true };
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        Task<PexAddrs> read = DelimitedMessage.ReadAsync(stream, PexAddrs.Parser, 1000, "a list", cancel.Token).AsTask();
        await cancel.CancelAsync();

        Assert.That(async () => await read, Throws.InstanceOf<OperationCanceledException>());
    }

    private static PexAddrs Message(int size)
    {
        PexAddrs message = new();
        for (int i = 0; i * 50 < size; i++)
        {
            message.Addrs.Add(new NetAddress { Id = new string('a', 40), Ip = "1.2.3.4", Port = (uint)i });
        }

        return message;
    }

    private static async Task RefusesAsync(Stream stream, int maxSize, DelimitedMessageFault fault, string reason, CancellationToken cancellationToken)
    {
        try
        {
            await DelimitedMessage.ReadAsync(stream, PexAddrs.Parser, maxSize, "a list", cancellationToken);
            Assert.Fail("The message was not refused.");
        }
        catch (DelimitedMessageException e)
        {
            Assert.That(e.Fault, Is.EqualTo(fault));
            Assert.That(e.Message, Does.Contain(reason));
        }
    }
}
