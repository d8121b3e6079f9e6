using System.Text;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Cryptography;

public sealed class KeyDerivationTests
{
    [Test]
    public void Merlin_transcripts_give_the_challenges_of_the_reference()
    {
        int transcripts = 0;
        int challenges = 0;
        foreach (JsonElement vector in TestData.Json("vectors/merlin-transcripts.json").EnumerateArray())
        {
            MerlinTranscript transcript = new(Encoding.UTF8.GetBytes(vector.Text("protocol")));
            foreach (JsonElement operation in vector.GetProperty("operations").EnumerateArray())
            {
                if (operation.TryGetProperty("append", out JsonElement label))
                {
                    transcript.AppendMessage(Encoding.UTF8.GetBytes(label.GetString()!), operation.Hex("data_hex"));
                    continue;
                }

                byte[] expected = operation.Hex("expect_hex");
                byte[] challenge = new byte[expected.Length];
                transcript.ExtractBytes(Encoding.UTF8.GetBytes(operation.Text("extract")), challenge);
                Assert.That(challenge, Is.EqualTo(expected), $"{vector.Text("protocol")}, {operation.Text("extract")}");
                challenges++;
            }

            transcripts++;
        }

        Assert.That((transcripts, challenges), Is.EqualTo((6, 21)));
    }

    [Test]
    public void Keys_are_derived_as_in_the_golden_file_of_the_reference()
    {
        int count = 0;
        foreach (string line in TestData.Lines("vectors/derive-secrets.csv"))
        {
            string[] columns = line.Split(',');
            (byte[] receive, byte[] send) = SessionSecrets.DeriveKeys(Convert.FromHexString(columns[0]), columns[1] == "true");
            Assert.That(Convert.ToHexStringLower(receive), Is.EqualTo(columns[2]));
            Assert.That(Convert.ToHexStringLower(send), Is.EqualTo(columns[3]));
            count++;
        }

        Assert.That(count, Is.EqualTo(32));
    }

    [Test]
    public void Both_sides_derive_the_same_challenge_and_each_others_keys()
    {
        for (int i = 0; i < 50; i++)
        {
            using EphemeralKey a = EphemeralKey.Create();
            using EphemeralKey b = EphemeralKey.Create();
            Assert.That(a.TryAgree(b.PublicKey, out byte[]? secretOfA) & b.TryAgree(a.PublicKey, out byte[]? secretOfB), Is.True);
            SessionSecrets secretsOfA = SessionSecrets.Derive(secretOfA!, a.PublicKey, b.PublicKey);
            SessionSecrets secretsOfB = SessionSecrets.Derive(secretOfB!, b.PublicKey, a.PublicKey);

            Assert.That(secretsOfA.Challenge, Is.EqualTo(secretsOfB.Challenge));
            Assert.That(secretsOfA.SendKey, Is.EqualTo(secretsOfB.ReceiveKey));
            Assert.That(secretsOfA.ReceiveKey, Is.EqualTo(secretsOfB.SendKey));
            Assert.That(secretsOfA.SendKey, Is.Not.EqualTo(secretsOfA.ReceiveKey));
        }
    }
}
