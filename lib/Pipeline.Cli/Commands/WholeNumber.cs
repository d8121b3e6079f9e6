using System.CommandLine;
using System.Globalization;

namespace Pipeline.Cli.Commands;

/// <summary>Options that are whole numbers from 1 on.</summary>
internal static class WholeNumber
{
    /// <param name="name">The name of the option.</param>
    /// <param name="helpName">What help calls the number.</param>
    /// <param name="description">What it is for.</param>
    /// <param name="most">The largest number.</param>
    /// <param name="defaultValue">The number when nobody says one; null for none.</param>
    public static Option<int> Option(string name, string helpName, string description, int most, int? defaultValue) => new(name)
    {
        HelpName = helpName,
        Description = description,
        DefaultValueFactory = defaultValue is { } value ? _ => value : null,
        CustomParser = result =>
        {
            string text = result.Tokens is [var token, ..] ? token.Value : (defaultValue ?? 1).ToString(CultureInfo.InvariantCulture);
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= 1 && number <= most)
            {
                return number;
            }

            result.AddError(string.Create(CultureInfo.InvariantCulture, $"{name} '{Printable.Of(text, 40)}' is not a whole number from 1 to {most:N0}."));
            return default;
        },
    };
}
