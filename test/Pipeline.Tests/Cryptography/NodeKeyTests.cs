using System.Runtime.Versioning;
using System.Text;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Cryptography;

public sealed class NodeKeyTests
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "node_key.json");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Every_key_file_of_the_reference_loads_signs_and_is_saved_byte_for_byte()
    {
        int count = 0;
        foreach (JsonElement vector in TestData.Json("vectors/node-keys.json").EnumerateArray())
        {
            // The reference writes its file without white space.
            string file = JsonSerializer.Serialize(vector.GetProperty("file"), PlainJson);
            File.WriteAllText(FilePath, file);

            using NodeKey key = NodeKey.Load(FilePath);
            File.Delete(FilePath);
            key.Save(FilePath);

            Assert.That(key.PublicKey.ToString(), Is.EqualTo(vector.Text("public_key_hex")));
            Assert.That(key.Id.ToString(), Is.EqualTo(vector.Text("node_id")));
            byte[] message = Encoding.UTF8.GetBytes(vector.Text("message"));
            Assert.That(Convert.ToHexStringLower(key.Sign(message)), Is.EqualTo(vector.Text("signature_hex")));
            Assert.That(key.PublicKey.Verify(message, vector.Hex("signature_hex")), Is.True);
            Assert.That(File.ReadAllText(FilePath), Is.EqualTo(file));
            count++;
        }

        Assert.That(count, Is.EqualTo(4));
    }

    [Test, Platform(Exclude = "Win", Reason = "Windows has no file modes."), UnsupportedOSPlatform("windows")]
    public void Only_the_owner_can_read_a_saved_file_whatever_was_there_before()
    {
        using NodeKey key = NodeKey.Create();
        key.Save(FilePath);
        Assert.That(File.GetUnixFileMode(FilePath), Is.EqualTo(OwnerOnly));

        File.SetUnixFileMode(FilePath, OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        key.Save(FilePath);
        Assert.That(File.GetUnixFileMode(FilePath), Is.EqualTo(OwnerOnly));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1), "no temporary file is left");
    }

    [Test]
    public void A_missing_key_is_made_once_and_found_again()
    {
        using NodeKey made = NodeKey.LoadOrCreate(FilePath);
        using NodeKey found = NodeKey.LoadOrCreate(FilePath);

        Assert.That(found.Id, Is.EqualTo(made.Id));
        Assert.That(found.PublicKey, Is.EqualTo(made.PublicKey));
    }

    [Test]
    public void A_missing_file_or_folder_is_an_IO_error()
    {
        Assert.That(() => NodeKey.Load(FilePath), Throws.InstanceOf<IOException>());
        using NodeKey key = NodeKey.Create();
        Assert.That(() => key.Save(Path.Combine(_folder, "missing", "node_key.json")), Throws.InstanceOf<IOException>());
    }

    [TestCase("", "it is empty")]
    [TestCase("{", "it is not JSON of the expected form")]
    [TestCase("{\"priv_key\":{\"type\":\"tendermint/PrivKeyEd25519\",\"value\":\"AAAA", "it is not JSON of the expected form")]
    [TestCase("[]", "it is not JSON of the expected form")]
    [TestCase("{\"priv_key\":7}", "it is not JSON of the expected form")]
    [TestCase("null", "it has no \"priv_key\"")]
    [TestCase("{}", "it has no \"priv_key\"")]
    [TestCase("{\"priv_key\":null}", "it has no \"priv_key\"")]
    [TestCase("{\"priv_key\":{}}", "its key has no \"type\"")]
    [TestCase("{\"priv_key\":{\"type\":\"tendermint/PrivKeySecp256k1\",\"value\":\"AAAA\"}}", "its key is of type 'tendermint/PrivKeySecp256k1'")]
    [TestCase("{\"priv_key\":{\"type\":\"tendermint/PrivKeyEd25519\"}}", "its \"value\" is not base64 of 64 bytes")]
    [TestCase("{\"priv_key\":{\"type\":\"tendermint/PrivKeyEd25519\",\"value\":\"!\"}}", "its \"value\" is not base64 of 64 bytes")]
    public void A_damaged_file_is_refused_with_what_is_wrong_and_what_would_be_right(string json, string what) => Refuses(json, what);

    [TestCase(0)]
    [TestCase(32)]
    [TestCase(63)]
    [TestCase(65)]
    public void A_value_of_another_length_is_refused(int length) =>
        Refuses(WithValue(new byte[length]), "its \"value\" is not base64 of 64 bytes");

    [Test]
    public void A_public_key_that_is_not_the_seeds_is_refused()
    {
        using NodeKey key = NodeKey.Create();
        Refuses(WithValue([.. new byte[32], .. key.PublicKey.Span]), "the public key in its \"value\" does not belong to the seed before it");
    }

    [Test]
    public void A_file_far_too_large_is_refused_unread() => Refuses(new string(' ', 100_000), "it has 100000 bytes");

    [TestCase(0)]
    [TestCase(31)]
    [TestCase(33)]
    [TestCase(64)]
    public void A_seed_has_32_bytes(int length)
    {
        Assert.That(() => NodeKey.FromSeed(new byte[length]), Throws.ArgumentException.With.Message.Contains($"32 bytes, not {length}"));
    }

    [Test]
    public void Public_keys_with_the_same_bytes_are_equal()
    {
        byte[] bytes = [.. Enumerable.Range(0, PublicKey.Size).Select(i => (byte)i)];
        PublicKey key = new(bytes);
        PublicKey same = new(bytes);
        bytes[31]++;

        Assert.That(same, Is.EqualTo(key));
        Assert.That(same.GetHashCode(), Is.EqualTo(key.GetHashCode()));
        Assert.That(new PublicKey(bytes), Is.Not.EqualTo(key));
        Assert.That(() => new PublicKey(new byte[31]), Throws.ArgumentException.With.Message.Contains("32 bytes, not 31"));
        Assert.That(key.Verify([], new byte[63]), Is.False);
    }

    [Test]
    public void Node_ids_are_40_hexadecimal_digits_of_either_case()
    {
        const string text = "fd5b3089b224419c963b4be692c9134cb24e5174";
        NodeId id = NodeId.Parse(text);

        Assert.That(id.ToString(), Is.EqualTo(text));
        Assert.That(NodeId.Parse(text.ToUpperInvariant()), Is.EqualTo(id));
        Assert.That(default(NodeId).IsEmpty, Is.True);
        Assert.That(default(NodeId) < id && id > default(NodeId) && id <= NodeId.Parse(text) && id >= default(NodeId), Is.True);
        foreach (string wrong in new[] { "", text[1..], text + "0", "g" + text[1..], " " + text[1..] })
        {
            Assert.That(NodeId.TryParse(wrong, out _), Is.False, wrong);
            Assert.That(() => NodeId.Parse(wrong), Throws.TypeOf<FormatException>().With.Message.Contains("40 hexadecimal digits"));
        }
    }

    private static readonly JsonSerializerOptions PlainJson = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static string WithValue(byte[] value) =>
        $"{{\"priv_key\":{{\"type\":\"tendermint/PrivKeyEd25519\",\"value\":\"{Convert.ToBase64String(value)}\"}}}}";

    private void Refuses(string content, string what)
    {
        File.WriteAllText(FilePath, content);

        NodeKeyFileException? e = Assert.Throws<NodeKeyFileException>(() => NodeKey.LoadOrCreate(FilePath).Dispose());

        Assert.That(e!.Path, Is.EqualTo(FilePath));
        Assert.That(e.Message, Does.Contain(FilePath).And.Contains(what).And.Contains("tendermint/PrivKeyEd25519").And.Contains("restore it"));
        Assert.That(File.ReadAllText(FilePath), Is.EqualTo(content), "a damaged file is never overwritten");
    }
}
