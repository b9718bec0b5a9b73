// A backend for Etsy's statsd that writes down how much its counters add up to, at each flush.
const fs = require('fs');

exports.init = function (startup, config, events) {
  let total = 0;
  events.on('flush', function (time, metrics) {
    for (const name in metrics.counters) {
      if (name.startsWith('bench.')) total += metrics.counters[name];
    }
    fs.writeFileSync(config.totalFile, String(total));
  });
  return true;
};
