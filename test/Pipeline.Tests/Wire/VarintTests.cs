using System.Buffers;
using CsCheck;
using Google.Protobuf;
using Pipeline.Wire;

namespace Pipeline.Tests.Wire;

public sealed class VarintTests
{
    [Test]
    public void Any_number_is_written_as_protobuf_writes_it_and_read_back()
    {
        Gen.Int[0, 64].SelectMany(bits => Gen.ULong.Select(value => bits == 64 ? value : value & ((1UL << bits) - 1))).Sample(
            value =>
            {
                byte[] expected = Generated(value);
                byte[] written = new byte[Varint.Length(value)];
                return Varint.Write(written, value) == expected.Length
                    && written.AsSpan().SequenceEqual(expected)
                    && Varint.TryRead([.. written, 0xff], out ulong read, out int length) == OperationStatus.Done
                    && (read, length) == (value, expected.Length)
                    && Varint.TryRead(written.AsSpan(0, length - 1), out _, out _) == OperationStatus.NeedMoreData;
            },
            iter: 20_000);
    }

    [TestCase("8000", 0UL, 2)]
    [TestCase("ff80808000", 127UL, 5)]
    [TestCase("80808080808080808000", 0UL, 10)]
    [TestCase("ffffffffffffffffff01", ulong.MaxValue, 10)]
    public void A_longer_form_than_needed_is_legal_up_to_ten_bytes(string hex, ulong value, int length)
    {
        Assert.That(Varint.TryRead(Convert.FromHexString(hex), out ulong read, out int taken), Is.EqualTo(OperationStatus.Done));
        Assert.That((read, taken), Is.EqualTo((value, length)));
    }

    [TestCase("ffffffffffffffffff02", Description = "65 bits")]
    [TestCase("80808080808080808080", Description = "never ends")]
    [TestCase("8080808080808080808001", Description = "ends after eleven bytes")]
    public void More_than_64_bits_or_ten_bytes_are_refused(string hex)
    {
        Assert.That(Varint.TryRead(Convert.FromHexString(hex), out _, out _), Is.EqualTo(OperationStatus.InvalidData));
    }

    [TestCase("")]
    [TestCase("80")]
    [TestCase("ffffffffffffffffff")]
    public void A_varint_that_is_not_all_there_needs_more_data(string hex)
    {
        Assert.That(Varint.TryRead(Convert.FromHexString(hex), out _, out _), Is.EqualTo(OperationStatus.NeedMoreData));
    }

    private static byte[] Generated(ulong value)
    {
        using MemoryStream stream = new();
        using (CodedOutputStream output = new(stream, leaveOpen: true))
        {
            output.WriteUInt64(value);
        }

        return stream.ToArray();
    }
}
