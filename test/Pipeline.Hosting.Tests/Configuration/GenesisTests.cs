using System.Text;
using Pipeline.Cryptography;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Hosting.Tests.Configuration;

[TestFixture]
public sealed class GenesisTests
{
    [TestCase("""{"chain_id":"a-1"}""", "a-1")]
    [TestCase("""{"app_state":{"chain_id":"inner","x":[{"chain_id":"inner"}]},"chain_id":"outer","broken": """, "outer", Description = "What follows is not read.")]
    [TestCase("\uFEFF { \"chain_id\" : \"a\\u002d1\" }", "a-1")]
    public void The_network_is_the_chain_id_of_the_genesis_file(string json, string network)
    {
        using TestHome home = new();
        string file = home.Write("config/genesis.json", json);

        NodeConfiguration configuration = home.Load();

        Assert.That((configuration.Network, configuration.NetworkProblem), Is.EqualTo((network, (string?)null)));
        Assert.That(
            configuration.Values.Single(value => value.Key.Name == "network"),
            Has.Property("Text").EqualTo(network).And.Property("Origin").EqualTo(new ConfigurationOrigin(ConfigurationSource.Genesis, file)));
    }

    [Test]
    public void What_is_said_of_the_network_counts_more_than_the_genesis_file()
    {
        using TestHome home = new("network = 'said'\ngenesis_file = 'other.json'");
        home.Write("other.json", "broken");

        Assert.That(home.Load().Network, Is.EqualTo("said"));
    }

    [TestCase(null, "is not there")]
    [TestCase("", "is empty")]
    [TestCase("{}", "has no \"chain_id\"")]
    [TestCase("[{\"chain_id\":\"a\"}]", "is not a JSON object")]
    [TestCase("\"chain_id\"", "is not a JSON object")]
    [TestCase("{\"chain_id\":5}", "has a \"chain_id\" that is no text")]
    [TestCase("{\"chain_id\":\"\"}", "has a \"chain_id\" that is no text")]
    [TestCase("{\"chain_id\":\"\\ud800\"}", "has a \"chain_id\" that is no text")]
    [TestCase("{\"app_state\":", "is not JSON")]
    [TestCase("garbage", "is not JSON")]
    [CancelAfter(30_000)]
    public void A_network_that_nobody_says_is_refused_when_it_is_needed(string? json, string reason, CancellationToken cancellationToken)
    {
        using TestHome home = new();
        if (json is not null)
        {
            home.Write("config/genesis.json", json);
        }

        NodeConfiguration configuration = home.Load();

        Assert.That(configuration.Network, Is.Null);
        Assert.That(configuration.NetworkProblem, Does.Contain(reason).And.Contain("--network ID").And.Contain("PIPELINE_NETWORK"));
        using NodeKey key = NodeKey.Create();
        Assert.That(
            () => configuration.ToSwitchOptionsAsync(key.Id, cancellationToken),
            Throws.TypeOf<ConfigurationException>().With.Message.EqualTo(configuration.NetworkProblem));
    }

    [Test]
    public void A_folder_in_place_of_the_genesis_file_is_said_to_be_one()
    {
        using TestHome home = new("genesis_file = 'config'");

        Assert.That(home.Load().NetworkProblem, Does.Contain("is a folder"));
    }

    [Test]
    public void A_large_file_is_read_in_parts()
    {
        using TestHome home = new();
        StringBuilder json = new("{\"app_state\":{\"code\":\"");
        json.Append('A', 3_000_000).Append("\",\"accounts\":[");
        for (int i = 0; i < 200_000; i++)
        {
            json.Append("{\"address\":\"cosmos1\",\"coins\":[1,2,3]},");
        }

        json.Append("null]},\"chain_id\":\"large-1\"}");
        home.Write("config/genesis.json", json.ToString());

        NodeConfiguration configuration = home.Load();

        Assert.That((configuration.Network, configuration.NetworkProblem), Is.EqualTo(("large-1", (string?)null)));
    }
}
