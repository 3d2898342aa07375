using Appliance.Lab;

return await Commands.Root().Parse(args).InvokeAsync().ConfigureAwait(false);
