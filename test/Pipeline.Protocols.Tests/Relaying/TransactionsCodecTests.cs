using CsCheck;
using Google.Protobuf;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>Holds the messages of transactions that are coded by hand against the generated code.</summary>
public sealed class TransactionsCodecTests
{
    private static readonly Gen<byte[][]> Transactions = Gen.Byte.Array[0, 300].Array[0, 20];

    [Test]
    public void What_is_written_is_what_the_generated_code_writes() =>
        Transactions.Sample(transactions =>
        {
            byte[] buffer = new byte[TransactionsCodec.MaxLength(transactions.Length, transactions.Sum(tx => (long)tx.Length))];
            int length = TransactionsCodec.Write(buffer, transactions);
            Assert.That(buffer.AsSpan(0, length).SequenceEqual(MessageOf(transactions).ToByteArray()), Is.True);
        });

    [Test]
    public void What_is_found_is_what_the_generated_code_finds_also_in_damaged_messages() =>
        Gen.Select(Transactions, Gen.Select(Gen.Int[0, 400], Gen.Byte).Array[0, 3], Gen.Int[0, 10]).Sample((transactions, damages, cut) =>
        {
            // Twice, because the parts of a message that comes in parts count together.
            byte[] bytes = [.. MessageOf(transactions).ToByteArray(), .. MessageOf([.. transactions.Take(2)]).ToByteArray()];
            foreach ((int at, byte value) in damages)
            {
                bytes[at % bytes.Length] = value;
            }

            bytes = bytes[..Math.Max(0, bytes.Length - cut)];
            List<(int Start, int Length)> found = [];
            bool isFound = TransactionsCodec.TryFind(bytes, found, int.MaxValue - 1);
            Message? parsed = null;
            try
            {
                parsed = Message.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException)
            {
            }

            if (isFound)
            {
                Assert.That(parsed?.Txs, Is.Not.Null);
                Assert.That(found.Select(place => Convert.ToHexString(bytes, place.Start, place.Length)), Is.EqualTo(parsed!.Txs.Txs_.Select(tx => Convert.ToHexString(tx.Span))));
            }
            else if (damages.Length == 0 && cut == 0)
            {
                Assert.Fail("An undamaged message was not understood.");
            }
        });

    private static Message MessageOf(byte[][] transactions) => new() { Txs = new Txs { Txs_ = { transactions.Select(tx => ByteString.CopyFrom(tx)) } } };
}
