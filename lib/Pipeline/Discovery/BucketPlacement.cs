using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>
/// Which buckets an address belongs into. Who does not know the key cannot tell, so nobody can choose addresses that push others out of their
/// bucket; and who has the addresses of one group, however many, reaches few of the buckets.
/// </summary>
/// <param name="key">The book's secret, see <see cref="CreateKey"/>.</param>
/// <param name="isStrict">See <see cref="AddressGroup.Of"/>.</param>
internal sealed class BucketPlacement(string key, bool isStrict)
{
    public const int NewBuckets = 256;
    public const int OldBuckets = 64;

    /// <summary>Over how many new buckets the addresses that one group of sources tells of are spread.</summary>
    public const int NewBucketsPerSourceGroup = 32;

    /// <summary>Over how many old buckets the addresses of one group are spread.</summary>
    public const int OldBucketsPerGroup = 4;

    // 96 bits, as the reference has it in its file.
    private const int KeySize = 12;

    private readonly byte[] _key = Encoding.UTF8.GetBytes(key);

    /// <summary>What the file calls the key.</summary>
    public string Key => key;

    /// <summary>A new secret: 24 hexadecimal digits.</summary>
    public static string CreateKey() => RandomNumberGenerator.GetHexString(2 * KeySize, lowercase: true);

    /// <summary>The new bucket of an address that a source told of. The address of the source decides among 32 of them, which its group chooses.</summary>
    public int NewBucket(NetAddress address, NetAddress source)
    {
        Span<byte> groups = stackalloc byte[1 + (2 * AddressGroup.Size)];
        groups[0] = (byte)'n';
        Group(address).Write(groups[1..]);
        Group(source).Write(groups[(1 + AddressGroup.Size)..]);
        return Spread(Hash(groups) % NewBucketsPerSourceGroup, groups[^AddressGroup.Size..], NewBuckets);
    }

    /// <summary>The old bucket of an address: one of 4, which its group chooses.</summary>
    public int OldBucket(NetAddress address)
    {
        Span<byte> group = stackalloc byte[AddressGroup.Size];
        Group(address).Write(group);
        return Spread(Hash(Encoding.UTF8.GetBytes($"o{address}")) % OldBucketsPerGroup, group, OldBuckets);
    }

    private AddressGroup Group(NetAddress address) => AddressGroup.Of(address.Ip!, isStrict);

    private int Spread(ulong choice, ReadOnlySpan<byte> group, int buckets)
    {
        Span<byte> input = stackalloc byte[2 + AddressGroup.Size];
        input[0] = (byte)(buckets == NewBuckets ? 'N' : 'O');
        input[1] = (byte)choice;
        group.CopyTo(input[2..]);
        return (int)(Hash(input) % (ulong)buckets);
    }

    private ulong Hash(ReadOnlySpan<byte> input)
    {
        Span<byte> hash = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(_key, input, hash);
        return BinaryPrimitives.ReadUInt64BigEndian(hash);
    }
}
